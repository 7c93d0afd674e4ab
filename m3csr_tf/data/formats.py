"""Readers: each layout of raw input that docs/data.md describes, to one RawData. Nothing is ever unpickled."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from m3csr_tf import columns
from m3csr_tf.config import DataConfig
from m3csr_tf.data.catalogue import Catalogue, check_catalogue
from m3csr_tf.data.content_files import ITEMS_AT_ONCE, ContentFile, store
from m3csr_tf.data.interactions import check_interactions
from m3csr_tf.data.raw import RawData, check_items_known
from m3csr_tf.data.tables import count_rows, first_line, load_table, part_files, read_blocks, to_pandas
from m3csr_tf.data.vectors import VectorReader
from m3csr_tf.data.world import make_world
from m3csr_tf.errors import InputError
from m3csr_tf.progress import progress

INTERACTIONS = "interactions"
CATALOGUE = "catalogue"
INTERACTION_COLUMNS = (columns.USER_ID, columns.ITEM_ID, columns.TIMESTAMP, columns.WEIGHT, columns.SPLIT)
INTERACTION_STRINGS = (columns.USER_ID, columns.ITEM_ID, columns.SPLIT)
MMREC_USER, MMREC_ITEM, MMREC_SPLIT = "userID", "itemID", "x_label"


def read(config: DataConfig, folder: Path) -> RawData:
    """Reads and checks the raw input that `config` names.

    Args:
      config: the section.
      folder: where the content vectors are written (`content_files`) that the catalogue maps: they may be more than fit
        in memory.

    Raises:
      InputError: a file is missing, malformed, or contradicts another; the message says which, and what to do.
    """
    if config.format == "world":
        raw = make_world(config.world)
        return replace(raw, catalogue=_stored(raw.catalogue.frame, raw.catalogue.content, "world", folder))
    readers: dict[str, Callable[[DataConfig, Path], tuple[pd.DataFrame, str, Catalogue]]] = {
        "table": _read_table,
        "mmssl": _read_mmssl,
        "mmrec": _read_mmrec,
    }
    clicks, source, catalogue = readers[config.format](config, folder)
    interactions, counts = check_interactions(clicks, source)
    check_items_known(interactions, catalogue, source)
    return RawData(interactions, catalogue, counts)


def input_files(config: DataConfig) -> list[Path]:
    """Every file that `read` would read, sorted; none for the synthetic world.

    Raises:
      InputError: a file is missing.
    """
    if config.format == "world":
        return []
    folder = _folder(config)
    if config.format == "table":
        tables = [_find_table(folder, name) for name in (INTERACTIONS, CATALOGUE)]
        return sorted(file for table in tables for file in ([table] if table.is_file() else part_files(table)))
    arrays = [_existing(folder / file) for file in config.modalities.values()]
    if config.format == "mmssl":
        return sorted([_existing(folder / f"{name}.json") for name in columns.SPLITS] + arrays)
    return sorted([_inter_file(config, folder), *arrays])


def _folder(config: DataConfig) -> Path:
    folder = Path(config.path or "")
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; data.path must name the folder of the {config.format} files")
    return folder


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"{path}: no such file; check data.path, data.format and data.modalities")
    return path


# Layout "table": interactions and catalogue, each one parquet or CSV file or a folder of part files.


def _read_table(config: DataConfig, folder: Path) -> tuple[pd.DataFrame, str, Catalogue]:
    path = log_of(config)
    interactions = load_table(path, list(INTERACTION_COLUMNS), strings=list(INTERACTION_STRINGS))
    return to_pandas(interactions), str(path), catalogue_of(config, folder)


def is_larger_than_memory(config: DataConfig) -> bool:
    """Whether the log has more than `data.in_memory_rows` rows, in a layout that can be read in blocks.

    Raises:
      InputError: it is missing, or cannot be read.
    """
    return config.format == "table" and count_rows(log_of(config)) > config.in_memory_rows


def log_of(config: DataConfig) -> Path:
    """The table of interactions of layout "table".

    Raises:
      InputError: it is missing, or there twice.
    """
    return _find_table(_folder(config), INTERACTIONS)


def catalogue_of(config: DataConfig, folder: Path) -> Catalogue:
    """The catalogue of layout "table", whose content is read and written in blocks.

    Args:
      config, folder: as in `read`.

    Raises:
      InputError: as `read`.
    """
    path = _find_table(_folder(config), CATALOGUE)
    plain = [columns.ITEM_ID, columns.VIEW_COUNT, columns.PUBLISH_TIME]
    vector_columns = list(config.modalities.values())
    readers = {name: VectorReader(column, path) for name, column in config.modalities.items()}
    items, kept = count_rows(path), []
    with ExitStack() as stack:
        files = {name: stack.enter_context(ContentFile(folder, name, items, str(path))) for name in readers}
        told = stack.enter_context(progress("reading the catalogue, items"))
        done = 0
        strings = [columns.ITEM_ID, *vector_columns]
        for block in read_blocks(path, [*plain, *vector_columns], strings, ITEMS_AT_ONCE):
            for name, column in config.modalities.items():
                if column not in block.column_names:
                    raise InputError(f"{path}: column {column} of modality {name} is missing; check data.modalities")
                files[name].append(readers[name].read(block[column]))
            kept.append(block.select([name for name in plain if name in block.column_names]))
            done += block.num_rows
            told(done, items)
        if items:
            for reader in readers.values():
                reader.finish()
        checked = check_catalogue(to_pandas(pa.concat_tables(kept)), {}, str(path))
        ids = checked.frame[columns.ITEM_ID].to_numpy()
        return Catalogue(checked.frame, {name: file.finish(ids) for name, file in files.items()})


def _find_table(folder: Path, name: str) -> Path:
    found = [path for path in (folder / f"{name}.parquet", folder / f"{name}.csv") if path.exists()]
    if not found:
        raise InputError(f"{folder}: neither {name}.parquet nor {name}.csv is there; expected one of them")
    if len(found) > 1:
        raise InputError(f"{folder}: both {name}.parquet and {name}.csv are there; keep one")
    return found[0]


# Layouts whose items are the rows of .npy files.


def _read_mmssl(config: DataConfig, folder: Path) -> tuple[pd.DataFrame, str, Catalogue]:
    source = _folder(config)
    interactions = pd.concat(
        [_read_user_lists(_existing(source / f"{name}.json"), name) for name in columns.SPLITS], ignore_index=True
    )
    return interactions, str(source), _catalogue_of_rows(config, folder)


def _read_user_lists(path: Path, name: str) -> pd.DataFrame:
    """One split: a JSON mapping of a user index to the list of her item indices."""
    expected = "expected a mapping of user index to a list of item indices"
    try:
        lists = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise InputError(f"{path}: not valid JSON; {expected}") from None
    if not isinstance(lists, dict) or not all(isinstance(items, list) for items in lists.values()):
        raise InputError(f"{path}: {expected}")
    users = np.repeat(np.array(list(lists), dtype=object), [len(items) for items in lists.values()])
    items = pd.Series([item for items in lists.values() for item in items], dtype=object)
    if len(items) and pd.api.types.infer_dtype(items, skipna=False) not in {"integer", "string"}:
        raise InputError(f"{path}: item indices must be whole numbers; {expected}")
    return pd.DataFrame({columns.USER_ID: users, columns.ITEM_ID: items.astype(str), columns.SPLIT: name})


def _read_mmrec(config: DataConfig, folder: Path) -> tuple[pd.DataFrame, str, Catalogue]:
    path = _inter_file(config, _folder(config))
    names = {MMREC_USER: columns.USER_ID, MMREC_ITEM: columns.ITEM_ID, columns.TIMESTAMP: columns.TIMESTAMP}
    wanted = {*names, MMREC_SPLIT}
    try:
        frame = pd.read_csv(
            path, sep="\t", usecols=lambda name: name in wanted, dtype={MMREC_USER: str, MMREC_ITEM: str}
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as tab-separated text ({first_line(error)})") from None
    if MMREC_SPLIT in frame:
        labels = dict(enumerate(columns.SPLITS))
        odd = ~frame[MMREC_SPLIT].isin(labels)
        if odd.any():
            row = int(odd.to_numpy().argmax())
            raise InputError(
                f"{path}: {MMREC_SPLIT} in data row {row + 1} is {frame[MMREC_SPLIT].iloc[row]}; expected 0, 1 or 2 "
                "(train, val, test)"
            )
        frame[columns.SPLIT] = frame.pop(MMREC_SPLIT).map(labels)
    return frame.rename(columns=names), str(path), _catalogue_of_rows(config, folder)


def _inter_file(config: DataConfig, folder: Path) -> Path:
    if config.inter_file is not None:
        return _existing(folder / config.inter_file)
    found = sorted(folder.glob("*.inter"))
    if not found:
        raise InputError(f"{folder}: no .inter file is there; check data.path and data.format")
    if len(found) > 1:
        raise InputError(f"{folder}: {len(found)} .inter files are there; name one in data.inter_file")
    return found[0]


def _catalogue_of_rows(config: DataConfig, folder: Path) -> Catalogue:
    """A catalogue whose item k is row k of every modality's file."""
    source = _folder(config)
    content = {name: _load_array(_existing(source / file)) for name, file in config.modalities.items()}
    sizes = {name: len(vectors) for name, vectors in content.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{config.modalities[name]} {size}" for name, size in sizes.items())
        raise InputError(f"{source}: the modalities have differing numbers of rows ({listed}); expected a row an item")
    frame = pd.DataFrame({columns.ITEM_ID: np.arange(next(iter(sizes.values())))})
    return _stored(check_catalogue(frame, {}, str(source)).frame, content, str(source), folder)


def _stored(frame: pd.DataFrame, content: Mapping[str, np.ndarray], source: str, folder: Path) -> Catalogue:
    """A catalogue whose content has been checked and written into `folder`."""
    ids = frame[columns.ITEM_ID].to_numpy()
    return Catalogue(frame, {name: store(folder, name, vectors, ids, source) for name, vectors in content.items()})


def _load_array(path: Path) -> np.ndarray:
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        pickled = "allow_pickle" in str(error) or "Python objects" in str(error)
        reason = "it is pickled or holds objects" if pickled else first_line(error)
        raise InputError(
            f"{path}: cannot be read as .npy ({reason}); expected numbers [items, width], never a pickle"
        ) from None
    if not isinstance(vectors, np.ndarray) or vectors.ndim != 2 or vectors.dtype.kind not in "fiu":
        shape = f"{vectors.dtype} {list(vectors.shape)}" if isinstance(vectors, np.ndarray) else "an archive"
        raise InputError(f"{path}: holds {shape}; expected numbers [items, width]")
    return vectors
