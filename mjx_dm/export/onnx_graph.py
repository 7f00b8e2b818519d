"""A policy under the mean action rule as an ONNX model, normaliser and action scaling inside."""

import json
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mjx_dm.checkpoints.policy_file import PolicyFile
from mjx_dm.training.normalisation import OBS_CLIP, OBS_EPSILON

# Understood by onnxruntime from 1.20 on.
_OPSET, _IR_VERSION = 21, 10
# Of flax.linen.LayerNorm.
_LAYER_NORM_EPSILON = 1e-6


class _Graph:
    """Nodes and constants as they are added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, op: str, *inputs: str | np.ndarray, output: str = "", **attributes: Any) -> str:
        """A node on names and arrays; returns the name of its output."""
        names = [x if isinstance(x, str) else self._constant(x) for x in inputs]
        output = output or f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, names, [output], **attributes))
        return output

    def _constant(self, array: np.ndarray) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name


def model_of(policy: PolicyFile) -> onnx.ModelProto:
    """Observations "obs" (N, obs) float32 to actions "action" (N, act) in the task's units.

    The model's metadata names the task, its version and the entries of both.
    """
    graph = _Graph()
    _add_action(graph, policy, _features(graph, policy))
    sizes = {"obs": policy.spaces.obs_size, "action": policy.spaces.action_size}
    obs, act = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size])
        for name, size in sizes.items()
    )
    model = helper.make_model(
        helper.make_graph(graph.nodes, "policy", [obs], [act], graph.constants),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="mjx_dm",
    )
    about = {"task": policy.task, "task_version": policy.task_version} | policy.layout
    helper.set_model_props(
        model, {k: v if isinstance(v, str) else json.dumps(v) for k, v in about.items()}
    )
    onnx.checker.check_model(model)
    return model


def _features(graph: _Graph, policy: PolicyFile) -> str:
    """The last hidden layer."""
    network, x = policy.network, "obs"
    if policy.obs_dtype == "bfloat16":
        x = graph.add("Cast", x, to=TensorProto.BFLOAT16)
        x = graph.add("Cast", x, to=TensorProto.FLOAT)
    if policy.normalize_obs:
        mean, var = policy.normalizer["mean"], policy.normalizer["var"]
        x = graph.add("Sub", x, mean)
        x = graph.add("Mul", x, (1 / np.sqrt(var + np.float32(OBS_EPSILON))).astype(np.float32))
        x = graph.add("Clip", x, _number(-OBS_CLIP), _number(OBS_CLIP))
    for i in range(len(network.widths)):
        x = _dense(graph, policy, x, i)
        if network.layer_norm:
            norm = policy.actor[f"LayerNorm_{i}"]
            scale, bias = norm["scale"], norm["bias"]
            x = graph.add("LayerNormalization", x, scale, bias, epsilon=_LAYER_NORM_EPSILON)
        if network.activation == "silu":
            x = graph.add("Mul", x, graph.add("Sigmoid", x))
        else:
            x = graph.add({"relu": "Relu"}[network.activation], x)
    return x


def _add_action(graph: _Graph, policy: PolicyFile, x: str) -> None:
    """ "action", the mean of the policy, scaled into the task's box."""
    network, spaces, layers = policy.network, policy.spaces, len(policy.network.widths)
    if network.distribution == "mixture":
        k, a = network.num_components, spaces.action_size
        weights = graph.add("Softmax", _dense(graph, policy, x, layers), axis=-1)
        means = _dense(graph, policy, x, layers + 1, policy.actor["mean_spread"].reshape(-1))
        means = graph.add("Reshape", means, np.array([0, k, a]))
        if network.bounded:
            means = graph.add("Tanh", means)
        weights = graph.add("Reshape", weights, np.array([0, 1, k]))
        action = graph.add("MatMul", weights, means)
        action = graph.add("Reshape", action, np.array([0, a]))
    else:
        action = graph.add("Tanh", _dense(graph, policy, x, layers))
    low, high = (np.array(x, np.float32) for x in (spaces.action_low, spaces.action_high))
    if network.bounded:
        action = graph.add("Clip", action, _number(-1.0), _number(1.0))
        action = graph.add("Mul", action, (high - low) / 2)
        action = graph.add("Add", action, (high + low) / 2)
    # Clip takes one bound for all.
    graph.add("Min", graph.add("Max", action, low), high, output="action")


def _number(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def _dense(graph: _Graph, policy: PolicyFile, x: str, number: int, more: Any = 0.0) -> str:
    """Layer `number`, with `more` added to its bias."""
    layer = policy.actor[f"Dense_{number}"]
    return graph.add("Gemm", x, layer["kernel"], np.asarray(layer["bias"] + more, np.float32))
