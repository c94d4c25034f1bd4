"""The column cache: columns of input files, decompressed, in files of this machine that are mapped into memory."""

from __future__ import annotations

from portico.columns.cache import ChunkColumns, ColumnCache, MappedColumn, column_cache

__all__ = ["ChunkColumns", "ColumnCache", "MappedColumn", "column_cache"]
