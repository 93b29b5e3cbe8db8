"""A pytest plugin that keeps the tests which run CUDA kernels, on a GPU or on the emulated device.

The others test host code, which is the same whatever device the process has.
"""


def device_name(item) -> str | None:
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("device") if callspec is not None else None


def pytest_collection_modifyitems(config, items):
    kept, left_out = [], []
    for item in items:
        (kept if device_name(item) in ("cuda", "cuda_emulated") else left_out).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept
