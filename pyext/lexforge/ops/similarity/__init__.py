"""The rows of a table that are nearest to queries."""
