"""The program beside an exported policy that acts with its weights in NumPy alone."""

from mjx_dm.checkpoints.policy_file import PolicyFile
from mjx_dm.training.normalisation import OBS_CLIP, OBS_EPSILON

_START = '''"""Acts with policy.safetensors in NumPy alone: python example.py"""

import json
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
DATA = (FOLDER / "policy.safetensors").read_bytes()
START = 8 + int.from_bytes(DATA[:8], "little")
W = {
    name: np.frombuffer(DATA[START:][slice(*x["data_offsets"])], np.float32).reshape(x["shape"])
    for name, x in json.loads(DATA[8:START]).items()
}
SPACES = json.loads((FOLDER / "policy.json").read_text())["spaces"]
LOW, HIGH = np.float32(SPACES["action_low"]), np.float32(SPACES["action_high"])


def dense(i, x):
    return x @ W[f"actor/Dense_{i}/kernel"] + W[f"actor/Dense_{i}/bias"]


def act(obs):
    """Observations (N, %d) float32 to actions (N, %d), the mean of the policy."""
'''
_END = """

if __name__ == "__main__":
    print(act(W["normalizer/mean"][None]))
"""
_ROUND = """\
    bits = np.float32(obs).view(np.uint32)
    obs = ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32)  # as a bfloat16
"""
_NORMALIZE = f"""\
    x = (obs - W["normalizer/mean"]) / np.sqrt(W["normalizer/var"] + {OBS_EPSILON:g})
    x = np.clip(x, {-OBS_CLIP:g}, {OBS_CLIP:g})
"""
_LAYER_NORM = """\
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        x = x * W[f"actor/LayerNorm_{i}/scale"] + W[f"actor/LayerNorm_{i}/bias"]
"""
_ACTIVATE = {
    "relu": "        x = np.maximum(x, 0)\n",
    "silu": "        x = x / (1 + np.exp(-x))\n",
}


def example_of(policy: PolicyFile) -> str:
    """The program: its `act` is the mean action rule of this policy, and of no other form."""
    network, spaces = policy.network, policy.spaces
    layers = len(network.widths)
    text = _START % (spaces.obs_size, spaces.action_size)
    text += _ROUND if policy.obs_dtype == "bfloat16" else ""
    text += _NORMALIZE if policy.normalize_obs else "    x = obs\n"
    text += f"    for i in range({layers}):\n        x = dense(i, x)\n"
    text += _LAYER_NORM if network.layer_norm else ""
    text += _ACTIVATE[network.activation]
    if network.distribution == "mixture":
        k, a = network.num_components, spaces.action_size
        text += f"    logits = dense({layers}, x)\n"
        text += "    weights = np.exp(logits - logits.max(-1, keepdims=True))\n"
        text += f"    means = dense({layers + 1}, x).reshape(-1, {k}, {a})"
        text += ' + W["actor/mean_spread"]\n'
        text += "    means = np.tanh(means)\n" if network.bounded else ""
        text += "    weights = weights / weights.sum(-1, keepdims=True)\n"
        text += '    x = np.einsum("nk,nka->na", weights, means)\n'
    else:
        text += f"    x = np.tanh(dense({layers}, x))\n"
    scaled = "(LOW + HIGH) / 2 + (HIGH - LOW) / 2 * np.clip(x, -1, 1)"
    text += f"    return {scaled if network.bounded else 'np.clip(x, LOW, HIGH)'}\n"
    return text + _END
