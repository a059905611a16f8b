"""The file of a projection, which takes a student's descriptors to the teacher's space."""

from pathlib import Path

from torch import Tensor, nn

from rdistill_helpers.embed.weight_files import read_safetensors
from rdistill_helpers.errors import BadInput
from rdistill_helpers.files import written_whole


def save_projection(projection: nn.Linear, path: str | Path) -> None:
    """Writes a projection as a safetensors file, whole or not at all.

    Args:
        projection: as `distill` trained it.
        path: the file to write; its folder is made.

    Raises:
        BadInput: the file cannot be written.
        InUse: another process is writing it.
    """
    from safetensors.torch import save

    state = {name: value.detach().cpu().contiguous() for name, value in projection.state_dict().items()}
    with written_whole(Path(path)) as unfinished:
        unfinished.write_bytes(save(state))


def load_projection(path: str | Path) -> nn.Linear:
    """The projection that `save_projection` wrote.

    Args:
        path: the file.

    Returns:
        The layer.

    Raises:
        DataMissing: there is no such file.
        BadInput: the file is damaged, or holds something else.
    """
    state: dict[str, Tensor] = read_safetensors(Path(path))[0]
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    if shapes.keys() != {"weight", "bias"} or len(shapes["weight"]) != 2 or shapes["bias"] != shapes["weight"][:1]:
        raise BadInput(
            f"{path} holds no projection (a weight [Dt, Ds] and a bias [Dt]): give the one that train wrote."
        )
    projection = nn.Linear(shapes["weight"][1], shapes["weight"][0])
    projection.load_state_dict(state)
    return projection
