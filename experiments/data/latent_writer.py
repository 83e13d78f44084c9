"""Writes latents that were encoded beforehand, in the forms that `latents` reads."""

import os
import pathlib

import numpy as np

from experiments.data.latent_layout import Layout, example_of, require_floats
from experiments.data.latent_records import encode_record
from experiments.errors import InputError


def write_latents(
    path: str | os.PathLike[str],
    latents: np.ndarray,
    *,
    context: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    num_classes: int | None = None,
) -> pathlib.Path:
    """Writes one file of latents: `.npz` (uncompressed, so that it can be mapped) or `.array_record`.

    Name the files train, validation and test (with any ending before the suffix, such as `train-00000-of-00002`) in one
    folder to say the split. The file appears under its name only when it is whole.

    Args:
        path: where to; the suffix says the form.
        latents: float16 or float32 [n, height, width, channels], at about unit variance.
        context: text embeddings, float16 or float32 [n, length, width].
        labels: class labels, int [n] in [0, num_classes).
        num_classes: number of classes; by default the largest label + 1.

    Raises:
        InputError: another suffix, lengths or types that do not fit, a value that is not finite.
    """
    target = pathlib.Path(path)
    writers = {".npz": _write_npz, ".array_record": _write_records}
    if target.suffix not in writers:
        raise InputError(f"{target}: latents are written as .npz or .array_record, got suffix {target.suffix!r}")
    latents, context = np.asarray(latents), None if context is None else np.asarray(context)
    labels = None if labels is None else np.asarray(labels)
    if labels is not None and num_classes is None:
        num_classes = int(labels.max()) + 1
    _validate(latents, context, labels, num_classes, target)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        writers[target.suffix](partial, latents, context, labels, num_classes)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _validate(
    latents: np.ndarray,
    context: np.ndarray | None,
    labels: np.ndarray | None,
    num_classes: int | None,
    target: pathlib.Path,
) -> None:
    require_floats(latents, 4, where=f"{target}: `latents`", axes="n, height, width, channels")
    if context is not None:
        require_floats(context, 3, where=f"{target}: `context`", axes="n, length, width")
    if labels is not None and (labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer)):
        raise InputError(f"{target}: `labels` must be int [n], got {labels.dtype} {list(labels.shape)}")
    for key, array in (("context", context), ("labels", labels)):
        if array is not None and len(array) != len(latents):
            raise InputError(f"{target}: `{key}` has {len(array)} rows and `latents` {len(latents)}; they must agree")
    layout = Layout(latents.shape[1:], None if context is None else context.shape[1:], num_classes)
    for row in range(len(latents)):
        row_context = None if context is None else context[row]
        label = None if labels is None else int(labels[row])
        example_of(latents[row], row_context, label, layout=layout, origin=f"{target}, row {row}")


def _write_npz(
    path: pathlib.Path,
    latents: np.ndarray,
    context: np.ndarray | None,
    labels: np.ndarray | None,
    num_classes: int | None,
) -> None:
    arrays = {"latents": latents}
    if context is not None:
        arrays["context"] = context
    if labels is not None:
        arrays |= {"labels": labels.astype(np.int32), "num_classes": np.array(num_classes, np.int32)}
    np.savez(path, allow_pickle=False, **arrays)


def _write_records(
    path: pathlib.Path,
    latents: np.ndarray,
    context: np.ndarray | None,
    labels: np.ndarray | None,
    num_classes: int | None,
) -> None:
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(path), "group_size:1")
    for row, latent in enumerate(latents):
        row_context = None if context is None else context[row]
        label = None if labels is None else int(labels[row])
        writer.write(encode_record(latent, context=row_context, label=label, num_classes=num_classes))
    writer.close()
