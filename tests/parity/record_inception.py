"""Records what pytorch-fid's and torch-fidelity's InceptionV3 compute: `make parity`, where both are installed.

`inception/recording.npz` holds the 2,048 features of a few small pictures and a part of what the first convolution is given,
of both; `inception/tensors.json` the names and shapes of their weights. Weights and pictures are made from names, and are not
stored; nothing is downloaded.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
from recorder import run_recorder
from seeded_weights import COLUMNS, PICTURES, ROWS, WITH_FEATURES, seeded_inception_tensor, seeded_pictures

GOLDEN = Path(__file__).parent / "inception"


def _loaded(build: Callable[[], object]) -> object:
    """A network that was built without a download, with seeded weights."""
    import pytorch_fid.inception
    import torch
    import torch_fidelity.feature_extractor_inceptionv3 as fidelity

    with (
        mock.patch.object(pytorch_fid.inception, "load_state_dict_from_url"),
        mock.patch.object(fidelity, "load_state_dict_from_url"),
        mock.patch.object(torch.nn.Module, "load_state_dict"),
    ):
        network = build()
    shapes = {name: tuple(values.shape) for name, values in network.state_dict().items()}
    network.load_state_dict(
        {
            name: torch.zeros((), dtype=torch.long)
            if name.endswith("num_batches_tracked")
            else torch.from_numpy(seeded_inception_tensor(name, shape))
            for name, shape in shapes.items()
        }
    )
    return network.eval()


def _seen(layer: object, run: Callable[[], object]) -> tuple[np.ndarray, np.ndarray]:
    """What a run gives, and what the layer is given in it, channels last."""
    given = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].numpy().transpose(0, 2, 3, 1)))
    result = run()
    handle.remove()
    return result, given[0]


def record() -> tuple[dict[str, np.ndarray], dict[str, tuple[int, ...]]]:
    """The recording, and the names and shapes of the weights."""
    import pytorch_fid.inception
    import torch
    import torch_fidelity.feature_extractor_inceptionv3 as fidelity

    parts = _loaded(pytorch_fid.inception.fid_inception_v3)
    with mock.patch.object(pytorch_fid.inception, "fid_inception_v3", return_value=parts):
        first = pytorch_fid.inception.InceptionV3().eval()
    second = _loaded(lambda: fidelity.FeatureExtractorInceptionV3("inception", ["2048"]))
    found = {}
    for name, shape in PICTURES.items():
        pictures = torch.from_numpy(seeded_pictures(name, shape)).permute(0, 3, 1, 2)
        with torch.no_grad():
            given = {
                "pytorch-fid": _seen(first.blocks[0], lambda x=pictures: first(x.float() / 255)[0][:, :, 0, 0].numpy()),
                "tensorflow": _seen(second.Conv2d_1a_3x3, lambda x=pictures: second(x)[0].numpy()),
            }
        for reference, (features, resized) in given.items():
            found[f"{reference}/{name}/resized"] = resized[:, ROWS, COLUMNS]
            if name == WITH_FEATURES:
                found[f"{reference}/{name}/features"] = features
    return found, {name: tuple(values.shape) for name, values in parts.state_dict().items()}


def write(out: Path) -> None:
    """Records both."""
    found, shapes = record()
    out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out / "recording.npz", **found)
    (out / "tensors.json").write_text(json.dumps(shapes, separators=(",", ":")) + "\n", "utf-8")
    for name, values in found.items():
        print(f"{name}: {values.shape}, spread {values.std():.3f}")


if __name__ == "__main__":
    packages = ("pytorch-fid", "torch-fidelity", "torch")
    sys.exit(run_recorder(write, description=__doc__, golden=GOLDEN, packages=packages))
