"""The op that CONTRIBUTING.md's five steps are tested with."""
