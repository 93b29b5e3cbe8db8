"""Free memory, as the system and a container tell it, and sizes as people write them."""

import pytest

from lexforge.training import memory
from lexforge.training.memory import parse_bytes, show_bytes


def test_least_of_what_is_known(tmp_path, monkeypatch):
    meminfo, limit = tmp_path / "meminfo", tmp_path / "limit"
    monkeypatch.setattr(memory, "_MEMINFO", meminfo)
    monkeypatch.setattr(memory, "_LIMITS", (limit, tmp_path / "absent"))
    assert memory.available_memory() is None
    meminfo.write_text("MemTotal: 900 kB\nMemAvailable:   500 kB\n")
    assert memory.available_memory() == 500 * 1024
    limit.write_text("max\n")
    assert memory.available_memory() == 500 * 1024
    limit.write_text("4096\n")
    assert memory.available_memory() == 4096


@pytest.mark.parametrize(
    "size, expected",
    [
        (1, 1), (2**40, 2**40), ("2GB", 2 * 10**9), ("512MB", 512 * 10**6), ("1.5G", 15 * 10**8),
        ("64MiB", 64 * 2**20), ("2 gb", 2 * 10**9), ("100B", 100), ("3Ki", 3072), ("1T", 10**12),
    ],
)  # fmt: skip
def test_parse_bytes(size, expected):
    assert parse_bytes("memory", size) == expected


@pytest.mark.parametrize(
    "size, error, message",
    [
        ("2", ValueError, "memory must be like '512MB' or '2GB', got '2'"),
        ("", ValueError, "like"),
        ("-1GB", ValueError, "like"),
        ("1e3MB", ValueError, "like"),
        ("GB", ValueError, "like"),
        ("2XB", ValueError, "like"),
        ("0MB", ValueError, "above 0, got '0MB'"),
        (-5, ValueError, "above 0, got -5"),
        (True, TypeError, "number of bytes or a text like '2GB', got True"),
        (2.5, TypeError, "got 2.5"),
        (None, TypeError, "got None"),
    ],
)
def test_no_sizes(size, error, message):
    with pytest.raises(error, match=message):
        parse_bytes("memory", size)


@pytest.mark.parametrize(
    "size, text", [(0, "0B"), (812, "812B"), (45_300, "45.3KB"), (3_210_000_000, "3.21GB")]
)
def test_show_bytes(size, text):
    assert show_bytes(size) == text
    assert size == 0 or parse_bytes("size", text) == size
