"""Free memory, as the system and a container tell it."""

from lexforge.training import memory


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
