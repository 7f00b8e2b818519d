"""A robot's model made for pictures: floor, sky and light; not for physics."""

import warnings
from typing import Protocol, runtime_checkable

import mujoco
import numpy as np

from mjx_dm.config import ConfigError

# The floor's group, so that copies of a robot can be drawn without copies of the floor.
FLOOR_GROUP = 5
# The scene's one light, of which there is none in the model's own names.
SUN = "mjx_dm sun"
# Steep: MuJoCo's shadow maps speckle a floor that the light grazes.
SUNLIGHT = np.array([0.2, 0.5, -0.9])
ZENITH, RIM = (0.42, 0.56, 0.72), (0.86, 0.90, 0.94)  # of the sky
TILES = (0.62, 0.66, 0.70), (0.70, 0.74, 0.78)  # of the floor
FIELD_OF_VIEW = 30.0  # degrees from bottom to top
FORCES = (0.85, 0.12, 0.10, 1.0)  # of contacts
SAMPLES = 4  # a pixel, for smooth edges


@runtime_checkable
class Drawable(Protocol):
    """What a task is asked for to be drawn."""

    @property
    def name(self) -> str: ...

    @property
    def camera(self) -> str | None: ...

    def spec(self) -> mujoco.MjSpec: ...


def scene_model(
    task: Drawable, width: int, height: int, camera: str | None = None
) -> mujoco.MjModel:
    """The task's robot on a floor without end, under a sky and one light that casts shadows.

    width, height: pixels of the largest picture that is drawn of it.
    Raises ConfigError where the model has no camera of the name `camera`, or task.camera.
    """
    spec = task.spec()
    check_camera(task, spec, camera)
    for light in list(spec.lights):
        spec.delete(light)
    spec.worldbody.add_light(
        name=SUN, type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, castshadow=True,
        dir=SUNLIGHT, ambient=[0.0] * 3, diffuse=[0.55] * 3, specular=[0.15] * 3,
    )  # fmt: skip
    plain = {x.name for x in spec.textures if x.builtin != mujoco.mjtBuiltin.mjBUILTIN_NONE}
    for texture in list(spec.textures):
        if texture.type == mujoco.mjtTexture.mjTEXTURE_SKYBOX:
            plain.discard(texture.name)
            spec.delete(texture)
    spec.add_texture(
        name="mjx_dm sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=RIM, rgb2=ZENITH, width=256, height=256,
    )  # fmt: skip
    spec.add_texture(
        name="mjx_dm tiles", type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=TILES[0], rgb2=TILES[1], width=512, height=512,
    )  # fmt: skip
    tiles = spec.add_material(name="mjx_dm tiles", reflectance=0.0, specular=0.0, shininess=0.0)
    tiles.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "mjx_dm tiles"
    tiles.texuniform, tiles.texrepeat = True, [0.5, 0.5]  # squares of 1 m
    bare = _quietly(spec)
    if not len(floors(bare)):
        data = posed(bare)
        low = float(corners(bare, data, _solid(bare))[:, 2].min(initial=0.0))
        spec.worldbody.add_geom(
            type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 1], pos=[0, 0, low - 0.02],
            contype=0, conaffinity=0,
        )  # fmt: skip
    model = _quietly(spec)
    _lay_floor(model)
    _plain_skin(model, plain)
    model.vis.global_.fovy = FIELD_OF_VIEW
    model.vis.headlight.active = 1
    model.vis.headlight.ambient[:] = 0.42
    model.vis.headlight.diffuse[:] = 0.25
    model.vis.headlight.specular[:] = 0.0
    model.vis.rgba.contactforce[:] = FORCES
    model.vis.rgba.haze[:] = [*RIM, 1.0]
    model.vis.global_.offwidth, model.vis.global_.offheight = width, height
    model.vis.quality.offsamples = SAMPLES
    return model


def check_camera(task: Drawable, spec: mujoco.MjSpec, camera: str | None) -> None:
    """Raises ConfigError where the model has no camera of the name `camera`, or task.camera."""
    wanted = camera or task.camera
    if wanted is not None and spec.camera(wanted) is None:
        names = ", ".join(x.name for x in spec.cameras if x.name) or "none"
        raise ConfigError(
            f"{task.name} has no camera {wanted!r} to be filmed with; it has: {names}."
        )


def floors(model: mujoco.MjModel) -> np.ndarray:
    """Ids of the planes that lie flat and stay where they are."""
    upright = posed(model).geom_xmat[:, 8] > 0.999
    still = model.body_weldid[model.geom_bodyid] == 0
    return np.flatnonzero((model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE) & upright & still)


def posed(model: mujoco.MjModel) -> mujoco.MjData:
    """The robot as it starts."""
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return data


def corners(model: mujoco.MjModel, data: mujoco.MjData, geoms: np.ndarray) -> np.ndarray:
    """The corners (8 G, 3) of the boxes around `geoms` (G,), as they lie in the world."""
    middle, half = np.split(model.geom_aabb[geoms], 2, axis=1)
    signs = np.stack(np.meshgrid(*[[-1, 1]] * 3), -1).reshape(8, 3)
    local = middle[:, None] + signs * half[:, None]
    turn = data.geom_xmat[geoms].reshape(-1, 3, 3)
    return (data.geom_xpos[geoms][:, None] + np.einsum("gij,gkj->gki", turn, local)).reshape(-1, 3)


def _solid(model: mujoco.MjModel) -> np.ndarray:
    """Ids of the geoms that have an end."""
    endless = [mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_HFIELD]
    return np.flatnonzero(~np.isin(model.geom_type, endless))


def _lay_floor(model: mujoco.MjModel) -> None:
    """One look for every floor, and no edge: a good policy runs past it."""
    ground = floors(model)
    model.geom_size[ground, :2] = 0.0
    model.geom_matid[ground] = model.material("mjx_dm tiles").id
    model.geom_rgba[ground] = [0.5, 0.5, 0.5, 1.0]  # MuJoCo's word for the material's
    model.geom_group[ground] = FLOOR_GROUP


def _plain_skin(model: mujoco.MjModel, generated: set[str]) -> None:
    """Takes MuJoCo's generated textures, such as crosses along every limb, off the robot."""
    role = mujoco.mjtTextureRole.mjTEXROLE_RGB
    floor = model.material("mjx_dm tiles").id
    for material in range(model.nmat):
        texture = model.mat_texid[material, role]
        if material != floor and texture >= 0 and model.tex(texture).name in generated:
            model.mat_texid[material, role] = -1


def _quietly(spec: mujoco.MjSpec) -> mujoco.MjModel:
    """`spec` as a model, without MuJoCo's warning of an attribute that Gymnasium's files use."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*settotalmass.*")
        return spec.compile()
