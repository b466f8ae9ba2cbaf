"""Names of genes: those of ``adata.var_names``, and symbols in a column of ``adata.var``."""

from __future__ import annotations

import re
from difflib import get_close_matches

import pandas as pd

from spotscape._core.validation import require_key


def symbols_of(var: pd.DataFrame, gene_symbols: str | None, where: str = "adata.var") -> pd.Index:
    """Names of the genes in the column ``gene_symbols``; without it those of the index."""
    if gene_symbols is None:
        return var.index
    require_key(var, gene_symbols, where, hint="gene_symbols names the column with names of genes")
    return pd.Index(var[gene_symbols].astype(str))


def nearest(var: pd.DataFrame, known: pd.Index, name: str, where: str = "adata.var") -> str:
    """A sentence for errors: where a gene that is not among ``known`` may be meant; empty if nowhere."""
    having = (var.iloc[:, index].astype(str).eq(name).any() for index in range(var.shape[1]))
    columns = [str(column) for column, has in zip(var.columns, having, strict=True) if has]
    if columns:
        return f" {where}[{columns[0]!r}] has it: gene_symbols={columns[0]!r}."
    # Written in another way, or with a letter amiss.
    written = {str(other).upper(): str(other) for other in known}
    close = get_close_matches(name.upper(), list(written), n=1, cutoff=0.7)
    return f" Did you mean {written[close[0]]!r}?" if close else ""


def identifiers_of(var: pd.DataFrame, names: pd.Index, gene_symbols: str | None, where: str) -> pd.Index:
    """The names in ``var.index`` of genes, each of which must be there once."""
    known = symbols_of(var, gene_symbols, where)
    unknown = names.difference(known, sort=False)
    if len(unknown):
        few = ", ".join(map(repr, unknown[:3]))
        place = f"{where}_names" if gene_symbols is None else f"{where}[{gene_symbols!r}]"
        hint = nearest(var, known, str(unknown[0]), where) or (
            " A gene that adata did not measure can be predicted from a reference that did: reference=<AnnData>."
        )
        msg = f"{len(unknown)} of {len(names)} genes are not in {place} (for example {few}).{hint}"
        raise KeyError(msg)
    several = names.intersection(known[known.duplicated()], sort=False)
    if len(several):
        theirs = list(var.index[known == several[0]][:3])
        msg = f"{several[0]!r} names several genes in {where}[{gene_symbols!r}]; name one by {where}_names: {theirs}."
        raise ValueError(msg)
    return var.index[known.get_indexer_for(names)]


_OF_SYMBOLS = re.compile(r"(real|external)?[._ ]?(gene|feature|hgnc|mgi)?[._ ]?(short)?[._ ]?(symbol|name)s?")


def column_of_symbols(var: pd.DataFrame) -> str | None:
    """The column with symbols, by its name, if the genes are named by Ensembl identifiers; else ``None``."""
    if var.index.astype(str).str.match(r"ENS[A-Z]*G\d{6}").mean() <= 0.5:
        return None
    return next((str(name) for name in var if _OF_SYMBOLS.fullmatch(str(name).lower())), None)
