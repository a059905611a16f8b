"""What tells the students in files and the makers of indexes apart."""

import hashlib

from torch import nn

from rdistill_helpers.distil.fingerprint import of_tensor


def network_digest(net: nn.Module) -> str:
    """What tells a network from others: its weights, its pooling and how it takes images.

    Args:
        net: the network.

    Returns:
        16 hexadecimal digits; of an OnnxStudent those of the network that was exported, in either precision.
    """
    exported = getattr(net, "digest", None)
    if isinstance(exported, str):
        return exported
    settings = [getattr(net, name, None) for name in ("backbone", "pooling", "scale")]
    digest = hashlib.sha256(repr(settings).encode())
    for name, value in sorted({**dict(net.named_parameters()), **dict(net.named_buffers())}.items()):
        digest.update(f"{name} {of_tensor(value)}".encode())
    return digest.hexdigest()[:16]
