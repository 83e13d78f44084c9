"""What is told of feature extractors, for people: which there are, and how to bring InceptionV3's weights."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.inception_weights import InceptionWeights

EXTRACTORS = """\
classifier   A small network trained on the run's own data set, which must have labels; the default.
             Gives frechet_classifier, kid_classifier, mmd_classifier: to compare networks of one run, and no FID.
inception    The InceptionV3 of FID, 2,048 features; you bring its weights as a file. Images of any size, with
             1 or 3 channels. Gives fid, for which 50,000 samples are usual, kid and mmd_inception.
any other    A function of JAX or a Flax module (DINOv2, CLIP, ...), by the Python API.
             Gives frechet_NAME, kid_NAME, mmd_NAME."""

WEIGHTS = """\
InceptionV3's weights, from pytorch-fid's or torch-fidelity's file (a pickle, never opened here), where torch is:

  python -c 'import safetensors.torch, torch; safetensors.torch.save_file(
      torch.load("pt_inception-2015-12-05-6726825d.pth", weights_only=True), "inception.safetensors")'

or from TensorFlow's classify_image_graph_def.pb, where TensorFlow is:

  graph = tf.compat.v1.GraphDef.FromString(open("classify_image_graph_def.pb", "rb").read())
  wanted = re.compile(r"conv2d_params$|batchnorm/(beta|gamma|moving_mean|moving_variance)$")
  found = {x.name: tf.make_ndarray(x.attr["value"].tensor) for x in graph.node if wanted.search(x.name)}
  numpy.savez("inception.npz", **found)

Then look at the file, and measure:

  pocketunet quality features --weights inception.safetensors
  pocketunet quality measure RUN --ids knee --n 50000 --features inception --weights inception.safetensors

--preprocessing says whose numbers yours can be compared with: `pytorch-fid` (the default for PyTorch's names)
or `tensorflow` (TensorFlow's own and torch-fidelity's; the default for the graph's names)."""

PYTHON = """\
Any Flax module, by the Python API:

  from experiments.progress import terminal_progress
  from experiments.quality_measuring import measure_quality
  from objectives.extractor import function_extractor    # or module_extractor(name, nnx_module)

  extractor = function_extractor("dinov2", apply, parameters)    # apply(parameters, images): NHWC, in [-1, 1]
  with terminal_progress() as progress:
      measure_quality(Path("RUN"), ["front"], num_samples=5000, extractor=extractor, progress=progress)"""


def extractors_text() -> str:
    """All of it."""
    return "\n\n".join((EXTRACTORS, WEIGHTS, PYTHON))


def weights_text(path: Path, weights: "InceptionWeights") -> str:
    """What a weights file holds."""
    return "\n".join(
        (
            f"{path}: InceptionV3's weights, whole",
            f"layout          {weights.layout.name}",
            f"digest          {weights.digest}",
            f"parameters      {weights.num_parameters:,}",
            f"preprocessing   {weights.layout.reference}, unless --preprocessing says otherwise",
        )
    )
