"""``lexforge plot attention``: the same as ``lexforge bert attention``."""

from lexforge.cli.bert.attention import attention

__all__ = ["attention"]
