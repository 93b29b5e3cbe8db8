"""A pytest plugin that keeps the tests which use the ``device`` fixture.

The others test host code, which is the same whatever device the process has.
"""


def pytest_collection_modifyitems(config, items):
    kept = [item for item in items if "device" in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept
