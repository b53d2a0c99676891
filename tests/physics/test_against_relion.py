"""Images that RELION made, from its map, poses, shifts and CTFs: conventions, not code, are compared."""

from pathlib import Path

import mrcfile
import pytest
import torch

from resmfn.physics import FourierSliceProjector, ImageFormation, Optics
from resmfn.rotations import matrix_from_euler

PIXEL_SIZE = 3.54

pytestmark = pytest.mark.shared


class Relion:
    """What ``relion_project --ctf`` read and wrote: 24 images of 64 x 64."""

    def __init__(self, corpus: Path) -> None:
        self.volume = torch.tensor(mrcfile.read(corpus / "maps" / "simplecryoem_pointmass.mrc"))
        self.images = torch.tensor(mrcfile.read(corpus / "particles" / "relion_proj_batch_pfac2.mrcs"))
        lines = (corpus / "star" / "relion_proj_batch_pfac2.star").read_text().splitlines()
        self.rows = [line.split() for line in lines if "@relion_proj_batch_pfac2" in line]
        labels = [line.split()[0] for line in lines if line.startswith("_")]
        self.labels = labels[labels.index("_rlnImageName") :]

    def column(self, label: str) -> torch.Tensor:
        position = self.labels.index(label)
        return torch.tensor([float(row[position]) for row in self.rows])

    def rotation(self) -> torch.Tensor:
        return matrix_from_euler(
            torch.stack([self.column(f"_rlnAngle{name}") for name in ("Rot", "Tilt", "Psi")], dim=1)
        )

    def shift(self) -> torch.Tensor:
        return torch.stack([self.column(f"_rlnOrigin{axis}Angst") for axis in "XY"], dim=1)

    def optics(self, **changes: torch.Tensor) -> Optics:
        fields = vars(Optics.uniform(len(self.rows), voltage=200.0, spherical_aberration=1.4)) | {
            "defocus_u": self.column("_rlnDefocusU"),
            "defocus_v": self.column("_rlnDefocusV"),
            "defocus_angle": self.column("_rlnDefocusAngle"),
        }
        return Optics(**fields | changes)

    def lowest_correlation(self, rotation: torch.Tensor, shift: torch.Tensor, optics: Optics) -> float:
        ours = ImageFormation(FourierSliceProjector(64), PIXEL_SIZE)(self.volume, rotation, shift, optics).flatten(1)
        theirs = self.images.flatten(1)
        ours, theirs = (x - x.mean(dim=1, keepdim=True) for x in (ours, theirs))
        return torch.nn.functional.cosine_similarity(ours, theirs).min().item()


@pytest.fixture(scope="module")
def relion_images(shared: Path) -> Relion:
    return Relion(shared / "corpus")


def test_images_agree_with_relion(relion_images: Relion) -> None:
    r = relion_images
    assert len(r.rows) == 24
    assert r.lowest_correlation(r.rotation(), r.shift(), r.optics()) > 0.998


def test_images_agree_in_scale(relion_images: Relion) -> None:
    r = relion_images
    ours = ImageFormation(FourierSliceProjector(64), PIXEL_SIZE)(r.volume, r.rotation(), r.shift(), r.optics())
    assert ((ours * r.images).sum() / ours.square().sum()).item() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    ("mistake", "ceiling"),
    [("pose", 0.5), ("shift", 0.5), ("swapped", 0.985), ("angle", 0.994), ("contrast", 0.985)],
)
def test_no_other_convention_agrees(relion_images: Relion, mistake: str, ceiling: float) -> None:
    r = relion_images
    rotation = r.rotation().mT.contiguous() if mistake == "pose" else r.rotation()
    shift = -r.shift() if mistake == "shift" else r.shift()
    changed = {
        "swapped": {"defocus_u": r.column("_rlnDefocusV"), "defocus_v": r.column("_rlnDefocusU")},
        "angle": {"defocus_angle": -r.column("_rlnDefocusAngle")},
        "contrast": {"amplitude_contrast": torch.full((24,), -0.1)},
    }.get(mistake, {})
    assert r.lowest_correlation(rotation, shift, r.optics(**changed)) < ceiling
