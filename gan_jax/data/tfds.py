"""Read TensorFlow Datasets without TensorFlow, and prepare MNIST and Fashion-MNIST without it, from idx files."""

import importlib.util
import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from PIL import Image

from gan_jax.data.cache import Item, Source
from gan_jax.data.idx import IDX_SPLITS, has_idx_files, read_idx_split
from gan_jax.errors import InputError, nearest, shorten
from gan_jax.files import expand

IDX_DATASETS = {"mnist": (), "fashion_mnist": (Path("/usr/share/datasets/fashion-mnist"),)}
"""Datasets that come as idx files too -> where a system has them (Debian: the package dataset-fashion-mnist)."""


def is_registered(name: str) -> bool:
    """Tell whether a name is that of a dataset in TFDS itself; other names make it import files, or fetch from elsewhere."""
    stem = re.fullmatch(r"([a-z0-9_]+)(/[A-Za-z0-9_.-]+)?(:[0-9.*]+)?", name)
    return stem is not None and stem[1] in tfds.list_builders(with_community_datasets=False)


def tfds_source(name: str, split: str, data_dir: str) -> Source:
    """Return the encoded images of a split, with labels where the dataset has classes; it is prepared first if need be.

    name: as in `tfds.builder`, such as cifar10 or emnist/letters. split: in TFDS's syntax, such as train[:90%]+test.
    data_dir: where prepared datasets are; '' for `$TFDS_DATA_DIR`, by default ~/tensorflow_datasets.

    Raises:
        InputError: no such dataset or split, no images in it, or no way to prepare it here.
    """
    folder = expand(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
    builder = _make_builder(name, folder)
    if not Path(builder.data_dir, "dataset_info.json").is_file():
        builder = _prepare(builder, folder)
    features = dict(builder.info.features.items())
    if not isinstance(features.get("image"), tfds.features.Image):
        raise InputError(f"data.name=tfds:{name} must be a dataset with the feature image; it has {', '.join(features)}")
    labelled = isinstance(features.get("label"), tfds.features.ClassLabel)
    records = _open_split(builder, split)

    def read(chunk: range) -> list[Item]:
        examples = records.__getitems__(list(chunk))  # twice as fast as one by one
        return [
            Item(f"{split}[{index}]", example["image"], int(example["label"]) if labelled else None)
            for index, example in zip(chunk, examples, strict=True)
        ]

    files = sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in Path(builder.data_dir).glob("*"))
    return Source(f"tfds:{name}:{split}", [builder.info.full_name, str(folder.resolve()), files], len(records), read)


def _make_builder(name: str, folder: Path) -> Any:
    try:
        return tfds.builder(name, data_dir=folder)
    except tfds.core.DatasetNotFoundError:
        prepared = [path.name for path in folder.glob("*") if path.is_dir()]
        known = {*tfds.list_builders(with_community_datasets=False), *prepared}
        raise InputError(f"data.name=tfds:{name}: no such dataset{nearest(name, known, count=3)}") from None
    except (ValueError, AssertionError) as error:  # a config or a version that the dataset lacks
        raise InputError(f"data.name=tfds:{name}: {error}") from error


def _open_split(builder: Any, split: str) -> Any:
    try:
        return builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
    except (ValueError, KeyError) as error:
        known = ", ".join(builder.info.splits)
        raise InputError(
            f"tfds:{builder.name}: data.split={split} must be made of the splits {known} ({shorten(error)})"
        ) from error
    except NotImplementedError as error:
        if "all[" in split:
            remedy = "all cannot be sliced; slice its parts, as in train[:50%]"
            raise InputError(f"tfds:{builder.name}: data.split={split}: {remedy}") from error
        text = f"{builder.data_dir} holds it as {builder.info.file_format.value}, which needs TensorFlow; prepare it again"
        raise InputError(f"tfds:{builder.name}: {text} with --file_format=array_record") from error


def _prepare(builder: Any, folder: Path) -> Any:
    """Prepare a dataset from idx files where there are any, else by its own builder; return the builder that did it."""
    name = builder.name
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    for candidate in (folder, folder / name, *IDX_DATASETS.get(name, ())) if name in IDX_DATASETS else ():
        if has_idx_files(candidate):
            print(f"preparing tfds:{name} in {folder} from the idx files in {candidate}, once", flush=True)
            builder = _make_idx_builder(name, candidate, folder)
            with redirect_stdout(io.StringIO()):  # it would print that it downloads
                builder.download_and_prepare()
            return builder
    if importlib.util.find_spec("tensorflow") is None:
        package = "apt-get install dataset-fashion-mnist, or " if IDX_DATASETS.get(name) else ""
        files = f"{package}put its four idx files there; otherwise " if name in IDX_DATASETS else ""
        way = f"{files}preparing it needs TensorFlow: pip install tensorflow, and run the same command again"
        raise InputError(f"tfds:{name} is not in {folder}; {way}")
    try:
        builder.download_and_prepare(file_format="array_record")
    except Exception as error:  # downloads, archives and builders fail in their own ways
        raise InputError(f"tfds:{name} could not be prepared in {folder}: {type(error).__name__}: {error}") from error
    return builder


def _make_idx_builder(name: str, source: Path, data_dir: Path) -> Any:
    """Make TFDS's own builder of a dataset, with its features and version, but from idx files and without TensorFlow."""
    stock: Any = tfds.builder_cls(name)

    class FromIdx(stock, skip_registration=True):  # type: ignore[call-arg]
        pkg_dir_path = Path(__file__).parent  # where TFDS looks for checksums of downloads; there are none

        def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
            del dl_manager
            return {split: self._generate_examples(split) for split in IDX_SPLITS}

        def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
            for index, (image, label) in enumerate(zip(*read_idx_split(source, split), strict=True)):
                encoded = io.BytesIO()
                Image.fromarray(image).save(encoded, format="PNG")
                encoded.seek(0)
                yield index, {"image": encoded, "label": int(label)}

    FromIdx.name = name
    return FromIdx(data_dir=data_dir, file_format="array_record")
