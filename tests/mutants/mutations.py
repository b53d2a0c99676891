# ruff: noqa: E501
"""Faults that a test must notice: files of the package, the tests that are asked, and what is changed into what.

A change is one line that stands once in its file. The tests named are those of the file's own folder, as a rule: what only
an end-to-end run would notice is asked of one.
"""

from __future__ import annotations

from typing import NamedTuple


class Group(NamedTuple):
    """Changes of one file, each made alone."""

    file: str
    tests: str
    changes: tuple[tuple[str, str], ...]


MUTATIONS = (
    Group("rotations/convert.py", "tests/rotations", (
        ("(ca * cb * cg - sa * sg, sa * cb * cg + ca * sg, -sb * cg),", "(ca * cb * cg - sa * sg, sa * cb * cg + ca * sg, sb * cg),"),
        ("(-ca * cb * sg - sa * cg, -sa * cb * sg + ca * cg, sb * sg),", "(-ca * cb * sg + sa * cg, -sa * cb * sg + ca * cg, sb * sg),"),
        ("(ca * sb, sa * sb, cb),", "(sa * sb, ca * sb, cb),"),
        ("rot = torch.atan2(matrix[..., 2, 1], matrix[..., 2, 0])", "rot = torch.atan2(matrix[..., 2, 0], matrix[..., 2, 1])"),
        ("sin_psi = c * matrix[..., 0, 1] - s * matrix[..., 0, 0]", "sin_psi = c * matrix[..., 0, 1] + s * matrix[..., 0, 0]"),
        ("return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)", "return quaternion"),
    )),
    Group("rotations/exponential.py", "tests/rotations", (
        ("a_series = 1 - t2 / 6 *", "a_series = 1 - t2 / 5 *"),
        ("b_series = 0.5 * (1 - t2 / 12 *", "b_series = 0.5 * (1 - t2 / 11 *"),
        ("return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), dim=-1)", "return torch.stack((zero, z, -y, -z, zero, x, y, -x, zero), dim=-1)"),
        ("return scale[..., None] * axis", "return -scale[..., None] * axis"),
    )),
    Group("rotations/distance.py", "tests/rotations", (
        ("sine = torch.linalg.vector_norm(skew, dim=(-2, -1)) / (2 * 2**0.5)", "sine = torch.linalg.vector_norm(skew, dim=(-2, -1)) / 2"),
        ("relative = a @ b.mT", "relative = a @ b"),
    )),
    Group("rotations/sampling.py", "tests/rotations", (
        ("alpha = 2 * math.pi * s / math.sqrt(2)", "alpha = 2 * math.pi * s / 2"),
        ("chance = (concentration * (candidates[:, 2, 2].abs() - 1)).exp()", "chance = (concentration * (candidates[:, 2, 2] - 1)).exp()"),
        ("missing -= len(accepted)", "missing -= len(candidates)"),
    )),
    Group("reconstruction/poses/copies.py", "tests/reconstruction/poses/test_copies.py tests/reconstruction/images/test_magnification.py", (
        ("        frames = observations.magnification.frames(posed.index[rows], poses.rotation)", "        frames = poses.rotation"),
        ("frames = observations.magnification.frames(index[rows], there.rotation)", "frames = there.rotation"),
        ("    return 2 * overlap - torch.einsum", "    return overlap - torch.einsum"),
        ("best = group.to(rotation)[scores.argmax(dim=1)]", "best = group.to(rotation)[scores.argmin(dim=1)]"),
        ("torch.logsumexp(score, dim=1) - math.log(copies.shape[1])", "torch.logsumexp(score, dim=1)"),
        ("slices.mean(dim=1, keepdim=True)", "slices[:, :1]"),
    )),
    Group("reconstruction/poses/posed_images.py", "tests/reconstruction/poses/test_copies.py tests/reconstruction/images/test_magnification.py", (
        ("frames = observations.magnification.frames(posed.index[rows], poses.rotation)", "frames = poses.rotation"),
        ("        weight = share[image, copy]", "        weight = torch.ones_like(share[image, copy])"),
        ("self.poses.rotation[image] @ group[copy]", "group[copy] @ self.poses.rotation[image]"),
    )),
    Group("reconstruction/phases/annealing.py", "tests/reconstruction/phases/test_annealing.py", (
        ("log_evidence[-1 - self.patience]", "log_evidence[-2]"),
        ("few = replace(task, index=task.index[rows])", "few = task"),
    )),
    Group("reconstruction/poses/search_space.py", "tests/reconstruction/poses/test_search_space.py", (
        ("is_density[densest:].long().cumprod(0).sum()", "is_density[densest:].long().sum()"),
        ("(shell[order] <= end)", "1"),
        ("excess > BEYOND_NOISE * spread.sqrt()", "excess > 0"),
    )),
    Group("reconstruction/phases/copies.py", "tests/reconstruction/phases/test_copies.py", (
        ("too_few = min(map(len, run.half_index)) < LEAST_ASKED", "too_few = False"),
        ("labels = torch.randint(len(group)", "labels = 0 * torch.randint(len(group)"),
    )),
    Group("evaluation/fsc.py", "tests/evaluation/test_fsc.py", (
        ("    masked.correlation[nothing] = 0", "    pass"),
        ("fraction = 0.0 if ends else", "fraction ="),
    )),
    Group("evaluation/local_resolution.py", "tests/evaluation/test_validation_laws.py", (
        ("finest = size * pixel_size / last", "finest = 0 * pixel_size / last"),
    )),
    Group("evaluation/directional.py", "tests/evaluation/test_validation_laws.py", (
        ("correlation[:, last_shell_of_both(", "correlation[:0, last_shell_of_both("),
    )),
    Group("evaluation/symmetry/axes.py", "tests/evaluation/symmetry", (
        ("REACH = 0.12", "REACH = 0.0"),
    )),
    Group("rotations/symmetry.py", "tests/rotations", (
        ("axes = (around_z,) if cyclic[1] == \"C\" else (around_z, (1, 0, 0, 2))", "axes = (around_z,) if cyclic[1] == \"C\" else (around_z, (0, 1, 0, 2))"),
        ("\"I3\": ((0, 0, 1, 5), (2, 0, -1, 5)),", "\"I3\": ((0, 0, 1, 5), (2, 0, 1, 5)),"),
        ("axes = _AXES[\"I2\" if wanted == \"I\" else wanted]", "axes = _AXES[\"I1\" if wanted == \"I\" else wanted]"),
        ("return traces[:, 0] >= traces.amax(dim=1) - _SAME", "return traces[:, 0] <= traces.amin(dim=1) + _SAME"),
    )),
    Group("physics/ctf.py", "tests/physics/test_ctf.py", (
        ("twice_angle = 2 * torch.deg2rad(column(optics.defocus_angle))", "twice_angle = -2 * torch.deg2rad(column(optics.defocus_angle))"),
        ("cs = 1e7 * column(optics.spherical_aberration)  # mm to Å", "cs = 1e6 * column(optics.spherical_aberration)"),
        ("defocus_k2 = 0.5 * ((u + v) * k2 + (u - v) * along_u)", "defocus_k2 = 0.5 * ((u + v) * k2 + (v - u) * along_u)"),
        ("defocus_k2 - 0.5 * cs * wavelength.square() * k2.square()", "defocus_k2 + 0.5 * cs * wavelength.square() * k2.square()"),
        ("(-0.25 * column(optics.b_factor) * k2).exp()", "(-0.5 * column(optics.b_factor) * k2).exp()"),
        ("offset = torch.deg2rad(column(optics.phase_shift)) +", "offset = column(optics.phase_shift) +"),
        ("ctf = phase.sin() * envelope", "ctf = -phase.sin() * envelope"),
        ("volts * 0.978466e-6", "volts * 0.878466e-6"),
        ("rate = math.pi * electron_wavelength(", "rate = 2 * math.pi * electron_wavelength("),
        ("strength = envelope if optics.scale is None else envelope * _column(optics.scale, frequencies)", "strength = envelope"),
    )),
    Group("reconstruction/poses/defocus.py", "tests/reconstruction/poses/test_defocus.py", (
        ("found.append(((overlap - power * ctf) * ctf).sum(dim=1))", "found.append(((overlap - 2 * power * ctf) * ctf).sum(dim=1))"),
        ("        frames = observations.magnification.frames(images, there.rotation)", "        frames = there.rotation"),
        ("centered = values * centered_ctf(observations, torch.ones_like(rate), there.shift)", "centered = values"),
        ("rate * float(offsets[0]))", "rate * float(offsets[1]))"),
        ("        table = table * weight[:, None]", "        pass"),
        ("    best, most = 0.0, float(values[:, len(offsets) // 2].sum()) + LEAST_EVIDENCE", "    best, most = 0.0, -math.inf"),
        ("prior = torch.log_softmax(-0.5 * (offsets.double() / spread).square(), dim=0)", "prior = -0.5 * (offsets.double() / spread).square()"),
        ("vertex = 0.5 * (before - after)", "vertex = 0.5 * (after - before)"),
        ("log_posterior = table.double() - 0.5 * (offsets.double() / spread).square()", "log_posterior = table.double()"),
        ("reach = min(max(REACH * spread, LEAST_REACH), MOST_REACH)", "reach = LEAST_REACH"),
        ("step = PHASE_STEP / (math.pi * longest * frequency**2)", "step = 10 * PHASE_STEP / (math.pi * longest * frequency**2)"),
        ("return self.deviation.square() < TOLD * self.spread**2", "return self.deviation.square() >= TOLD * self.spread**2"),
    )),
    Group("reconstruction/images/observations.py", "tests/reconstruction/test_refined_defocus.py", (
        ("return self.optics.with_defocus(self.defocus_offset.to(self.optics.defocus_u))", "return self.optics"),
    )),
    Group("reconstruction/run/context.py", "tests/reconstruction/test_refined_defocus.py", (
        ("            observations.set_defocus(state.defocus.offset)", "            pass"),
        ("        self.observations.set_defocus(already_set(self.state.defocus.offset))", "        pass"),
    )),
    Group("reconstruction/phases/rounds.py", "tests/reconstruction/test_refined_defocus.py", (
        ("model = PoseModel(grid, grid.transform(volume), radius, run.moves_shift)", "model = PoseModel(grid, grid.transform(resized(state.maps.references[\"half2\"], grid.size)), radius, run.moves_shift)"),
    )),
    Group("reconstruction/results/defocus.py", "tests/reconstruction/test_refined_defocus.py", (
        ("torch.from_numpy(metadata.numbers(name)) + offset", "torch.from_numpy(metadata.numbers(name)) - offset"),
    )),
    Group("physics/shift.py", "tests/physics/test_image_formation.py", (
        ("x, y = (shift * (2 * math.pi", "x, y = (shift * (-2 * math.pi"),
        ("angle = torch.addcmul(x * k[:, 0], y, k[:, 1])", "angle = torch.addcmul(x * k[:, 1], y, k[:, 0])"),
        ("(box_size * pixel_size)))[:, :, None]", "box_size))[:, :, None]"),
    )),
    Group("reconstruction/images/magnification.py", "tests/reconstruction/images/test_magnification.py tests/reconstruction/poses/test_pose_refinement.py", (
        ("return rotation if self.matrix is None else slice_frames(rotation, self.matrix[index])", "return rotation"),
        ("return rotation if self._mean is None else", "return rotation if True else"),
        ("Magnification(self.matrix[index], self._mean)", "Magnification(self.matrix[index])"),
        ("x, y = k if self.matrix is None else", "x, y = k if True else"),
        ("return ctf * (within & (magnified(k, self._mean[None]).square().sum(dim=-1) <= most))", "return ctf * within"),
        ("most = k[-1].square().sum() * (1 + _ROUNDING)", "most = 1.2 * k[-1].square().sum()"),
    )),
    Group("reconstruction/images/observations.py", "tests/reconstruction/images/test_magnification.py", (
        ("observations.magnification = magnification_of(particles.optics, device)", "pass"),
    )),
    Group("reconstruction/phases/starts.py", "tests/reconstruction/images/test_magnification.py", (
        ("few.magnification = observations.magnification.select(index)", "pass"),
    )),
    Group("reconstruction/phases/annealing.py", "tests/reconstruction/images/test_magnification.py", (
        ("frames = observations.magnification.shared_frames(rotations[mine])", "frames = rotations[mine]"),
        ("observations.magnification.shared_frames(rotations), pixels)", "rotations, pixels)"),
        ("frames = observations.magnification.frames(index[rows], rotation[rows])", "frames = rotation[rows]"),
    )),
    Group("reconstruction/poses/pose_refinement.py", "tests/reconstruction/poses/test_pose_refinement.py", (
        ("slice_points(self.magnification.frames(images, rotation), self", "slice_points(rotation, self"),
        ("rows = everyone[gain > _LEAST_GAIN]", "rows = everyone[gain > -1]"),
        ("better = rows[taken]", "better = rows[: len(taken)]"),
    )),
    Group("reconstruction/poses/candidates.py", "tests/reconstruction/poses/test_candidates.py", (
        ("pose = torch.cat((self.rotation.flatten(2), self.shift), dim=2)", "pose = self.rotation.flatten(2)"),
        ("return alike.tril(-1).any(dim=2)", "return alike[:, :, 0] & (torch.arange(alike.shape[1]) > 0)"),
        ("rows = (~candidates.repeated()).flatten().nonzero()[:, 0]", "rows = torch.arange(n * k)"),
        ("return fit.poses.select(torch.searchsorted(rows, best))", "return fit.poses.select(best % len(rows))"),
        ("shift = torch.where(near[:, :, None], first.shift, self.shift)", "shift = self.shift"),
    )),
    Group("reconstruction/phases/joint.py", "tests/reconstruction/phases/test_joint.py", (
        ("settled = settled and run.state.defocus.change < SETTLED_DEFOCUS", "pass"),
        ("return settled or has_all_rounds(run)", "return has_all_rounds(run)"),
    )),
    Group("reconstruction/classes/rounds.py", "tests/reconstruction/phases/test_joint.py", (
        ("at_rest = moved < SETTLED_CLASSES and all(ends_joint_rounds(*pair) for pair in zip(runs, rounds, strict=True))", "at_rest = moved < SETTLED_CLASSES and any(ends_joint_rounds(*pair) for pair in zip(runs, rounds, strict=True))"),
        ("is_last = at_rest or has_all_rounds(runs[0])", "is_last = has_all_rounds(runs[0])"),
        ("moved = float((class_probabilities(run).argmax(dim=0) != before).float().mean())", "moved = 0.0"),
    )),
    Group("physics/compiled/loops.py", "tests/physics/test_compiled.py", (
        ('suits = all(t.device.type == "cpu" and t.dtype in kinds and not t.requires_grad for t in tensors)', 'suits = all(t.device.type == "cpu" and t.dtype in kinds for t in tensors)'),
        ("return _loops() if suits else None", "return None"),
        ("values = values.detach().resolve_conj().resolve_neg().contiguous()", "values = values.detach().resolve_neg().contiguous()"),
    )),
    Group("physics/compiled/kernels.py", "tests/physics/test_compiled.py tests/reconstruction/poses/test_pose_refinement.py", (
        ("upper = along_y * fx", "upper = along_y * fy"),
        ("weights[iz + dz, iy + dy, ix + dx] += share * w", "weights[iz + dz, iy + dy, ix + dx] += w"),
        ("rows[i, 1, p, part] = kx * along_z", "rows[i, 1, p, part] = -kx * along_z"),
        ("rows[i, 3 + axis, p, 1] = turned * rows[i, n_free, p, 0]", "rows[i, 3 + axis, p, 1] = -turned * rows[i, n_free, p, 0]"),
        ("x0, x1 = x00 + fy * (x10 - x00), x01 + fy * (x11 - x01)", "x0, x1 = x00, x01"),
    )),
    Group("physics/noise.py", "tests/physics/test_noise.py", (
        ("keepdim=True) / snr).sqrt()", "keepdim=True) / snr)"),
        ("dim=(-2, -1), correction=0", "dim=(-3, -2, -1), correction=0"),
    )),
    Group("physics/projection.py", "tests/physics/test_projection.py", (
        ("return 0.5 * (grid + _friedel_mates(grid).conj())", "return 0.5 * (grid + _friedel_mates(grid))"),
        ("return volume * _gridding_correction(volume, padding)", "return volume"),
        ("corrected = volume * _gridding_correction(volume, padding)", "corrected = volume"),
    )),
    Group("evaluation/fsc.py", "tests/evaluation/test_fsc.py", (
        ("fraction = 0.0 if ends else (upper - threshold) / (upper - lower)", "fraction = 0.0"),
        ("        if k == 1:\n            return math.inf\n", ""),
        ("below = (self.correlation[1:last] < threshold).nonzero().flatten()", "below = (self.correlation[1:] < threshold).nonzero().flatten()"),
        ("noise = randomized[beyond:].clamp(max=_MOST_ADDED)", "noise = masked.correlation[beyond:].clamp(max=_MOST_ADDED)"),
        ("corrected[beyond:] = ((corrected[beyond:] - noise) / (1 - noise)).clamp(min=-1.0)", "corrected[beyond:] = (corrected[beyond:] - noise).clamp(min=-1.0)"),
        ("low = (loose.correlation[1:] < RANDOMIZE_BELOW).nonzero().flatten()", "low = (masked.correlation[1:] < RANDOMIZE_BELOW).nonzero().flatten()"),
        ("cross = shells.sums((torch.view_as_real(a) * torch.view_as_real(b)).sum(dim=-1))[used]", "cross = shells.sums((a * b).real)[used]"),
        ("torch.trapezoid(self.correlation, self.frequency) / self.frequency[-1])", "torch.trapezoid(self.correlation, self.frequency))"),
        ("torch.where(shells.index >= start,", "torch.where(shells.index > start + 3,"),
    )),
    Group("evaluation/sharpening.py", "tests/evaluation/test_validation_laws.py tests/reports/test_report.py::test_the_guinier_plot_has_the_line_of_the_b_factor", (
        ("return (2 * correlation / (1 + correlation)).sqrt()", "return 2 * correlation / (1 + correlation)"),
        ("return low_pass(sharpened, cutoff, FILTER_EDGE).to(volume.dtype)", "return sharpened.to(volume.dtype)"),
        ("return GuinierFit(4 * slope,", "return GuinierFit(2 * slope,"),
    )),
    Group("evaluation/local_resolution.py", "tests/evaluation/test_validation_laws.py", (
        ("first, last = centers.amin(dim=0) - half,", "first, last = centers.amin(dim=0) - half + 2,"),
        ("for pair in reversed(pairs) for margin in pair]", "for pair in pairs for margin in pair]"),
        ("start = max(1, round(size * pixel_size / RANDOMIZED_FROM))", "start = max(1, round(size * RANDOMIZED_FROM / pixel_size))"),
        ("total[here] += window / resolution", "total[here] += window * resolution"),
    )),
    Group("fourier/half_space.py", "tests/fourier/test_half_space.py", (
        ("own = [0] if index.shape[0] % 2 else [0, index.shape[-1] - 1]", "own = [0]"),
        ("values.flatten()).mul_(2)", "values.flatten())"),
        ("return torch.fft.irfftn(coefficients, s=(box_size,) * 3, dim=_MAP)", "return torch.fft.irfftn(coefficients, dim=_MAP)"),
    )),
    Group("reconstruction/run/memory_plan.py", "tests/reconstruction/run/test_memory_plan.py", (
        ("alone = memory_needed(math.ceil(n_images / n_processes), box_size, 1,", "alone = memory_needed(n_images, box_size, n_processes,"),
        ("alone + _MORE_ON_GPU * box_size**3", "alone"),
        ("flag = min(given, key=lambda name: len(fits[name]))", "flag = min(given, key=given.get)"),
    )),
    Group("evaluation/validation.py", "tests/evaluation/test_validation_laws.py", (
        ("shares = torch.tensor([0.05, 0.5, 0.95]", "shares = torch.tensor([0.25, 0.5, 0.75]"),
        ("for axis, name in enumerate(\"xyz\"):", "for axis, name in enumerate(\"zyx\"):"),
        ("found = {\"lowest\": ranked[0],", "found = {\"lowest\": ranked[-1],"),
    )),
    Group("evaluation/views.py", "tests/evaluation/test_views.py", (
        ("return rotation[:, 2, :]", "return rotation[:, :, 2]"),
        ("return (rotation[:, None] @ group.to(rotation)).flatten(0, 1)", "return (group.to(rotation) @ rotation[:, None]).flatten(0, 1)"),
        ("return total * norm / len(views)", "return total / len(views)"),
        ("view_density(rotation, -directions, width_deg)) / 2", "view_density(rotation, directions, width_deg)) / 2"),
    )),
    Group("data/mrc/header.py", "tests/data/mrc", (
        ("12: \"f2\"}", "12: \"u2\"}"),
        ("fields[\"nz\"], fields[\"ny\"], fields[\"nx\"] = shape", "fields[\"nx\"], fields[\"ny\"], fields[\"nz\"] = shape"),
        ("fields[\"ispg\"] = 0 if is_stack else 1", "fields[\"ispg\"] = 1 if is_stack else 0"),
        ("fields[\"cella\"] = tuple(count * pixel_size for count in samples)", "fields[\"cella\"] = samples"),
        ("return start[1] * voxel[0], start[2] * voxel[1], start[3] * voxel[2]", "return start[3] * voxel[0], start[2] * voxel[1], start[1] * voxel[2]"),
    )),
    Group("data/star/tables.py", "tests/data/star", (
        ("mark = \"'\" if '\"' in text else '\"'", "mark = '\"'"),
        ("return [f\"{value:.6f}\" for value in listed]", "return [f\"{value:.3f}\" for value in listed]"),
        ("return [str(int(value)) for value in listed]", "return [str(int(value) + 1) for value in listed]"),
    )),
    Group("data/selection.py", "tests/data/test_selection.py", (
        ("far = ((here - there[rows]).abs() > SAME_PLACE)", "far = ((here - there[rows]).abs() > 1e6)"),
        ("len(row_of) == len(there) and all(name", "all(name"),
        ("chosen = particles.select(_rows_of(found, particles))", "chosen = particles.select(torch.arange(len(found)))"),
        ("{SUBSET_COLUMN: found.table[SUBSET_COLUMN]}", "{SUBSET_COLUMN: listed.table[SUBSET_COLUMN][: len(chosen)]}"),
        ("if with_poses:", "if True:"),
        ("(Path(name).name, f", "(name, f"),
    )),
    Group("reconstruction/classes/branching.py", "tests/reconstruction/classes/test_mixture.py", (
        ("progress=progress, finer=2)", "progress=progress)"),
        ("there = [k for k, number in enumerate(numbers) if number in among]", "there = list(range(len(numbers)))"),
        ("twice = (twice - {gone}) | {kept}", "twice = twice - {gone}"),
        ("extent = max(extent_of_map(volume, tasks.space, box_size) for volume in two.volumes)", "extent = 0.3 * tasks.space.mask_radius"),
    )),
    Group("reconstruction/classes/competition.py", "tests/reconstruction/classes/test_mixture.py", (
        ("n_rotations=round(finer * min(MOST_ROTATIONS, round(needed))),", "n_rotations=min(MOST_ROTATIONS, round(needed)),"),
        ("return torch.isin(likeliest, torch.tensor(numbers, device=likeliest.device)).nonzero()[:, 0]", "return (likeliest == numbers[0]).nonzero()[:, 0]"),
    )),
    Group("reconstruction/classes/states.py", "tests/reconstruction/classes/test_states.py", (
        ("differences = differences - torch.einsum(\"k,kxyz->xyz\", share, differences)", "pass"),
        ("half.spread_to(gains, SPREADS[step])", "half.spread_to(gains, 0.7)"),
        ("self.probability[:, order]", "self.probability"),
        ("return of_any_contrast(fits.overlap.sum(dim=1), fits.power.sum(dim=1))", "return 2 * fits.overlap.sum(dim=1) - fits.power.sum(dim=1)"),
        ("- known - 0.5 * torch.log1p(power / known)", "- known"),
    )),
    Group("reconstruction/classes/division.py", "tests/reconstruction/classes/test_states.py", (
        ("second = second.in_order(columns.tolist())", "pass"),
        ("zip((first, second), reversed(posed), strict=True)", "zip((first, second), posed, strict=True)"),
        ("return self.is_likelier and self.are_needed and self.agreement > LEAST_AGREEMENT", "return self.is_likelier and self.are_needed"),
        ("self.is_likelier and self.are_needed and", "self.is_likelier and"),
        ("share = torch.softmax(found + share.log(), dim=1).mean(dim=0).clamp_min(1e-6)", "pass"),
        ("shift = before.shift - (before.rotation", "shift = before.shift + (before.rotation"),
        ("is_other = states.probability[:, larger] < 0.5", "is_other = states.probability[:, larger] >= 0.5"),
        ("if Comparison.of(*likelihoods).is_more_than(LEAST_GAIN) else None", ""),
        ("return int((self.halves[0].share + self.halves[1].share).argmax())", "return int((self.halves[0].share + self.halves[1].share).argmin())"),
    )),
    Group("reconstruction/classes/state_step.py", "tests/reconstruction/classes/test_states.py", (
        (".argsort(descending=True)", ".argsort()"),
        ("good[index] * states.probability[:, number]", "good[index]"),
        ("if found.is_believed and found.agreement > NAMED_AGREEMENT and", "if found.is_believed and"),
        ("if not found.is_likelier and found.agreement <= NAMED_AGREEMENT:", "if not found.is_likelier:"),
        (" and 2 * smaller >= LEAST_PARTICLES:", ":"),
        ("parts.sort(key=lambda part: -float(", "parts.sort(key=lambda part: float("),
        ("min(shown) < LEAST_PARTICLES or state.soft.are_on or not already_set", "state.soft.are_on or not already_set"),
        ("if found is None or not n_left or", "if found is None or"),
        ("or not n_left or found.agreement < DIVIDED_AGREEMENT:", "or not n_left:"),
        ("mixed += [] if found is None else [number]", "pass"),
        ('state.branching["views asked"] = state.branching["turns asked"] = False', "pass"),
        ("elif not found.is_likelier:", "elif False:"),
        ("alone.keep_poses(halves)", "pass"),
        ("alone.state.maps = _maps_of_state(alone, division, division.larger)", "pass"),
        ("0 if all_ask else RECHECK_ROUND + 1", "0"),
        ('if run.state.branching.get("turns asked", False):', "if False:"),
    )),
    Group("reconstruction/classes/new_starts.py", "tests/reconstruction/classes/test_new_starts.py", (
        ("if density > ONE_VIEW and density > 2 * usual}", "if density > ONE_VIEW}"),
        ('if state.branching.get("views asked", False):', "if False:"),
        ("if min(len(half) for half in alone.half_index) < LEAST_PARTICLES or", "if"),
        ("replace(gained, gain=gained.gain - explained).is_more_than(LIKELIER)", "gained.is_more_than(LIKELIER)"),
        ("_log_evidence(second, _last_steps(", "_log_evidence(first, _last_steps("),
        ("state.qualities, state.tests, state.map_size = before.qualities,", "state.qualities, state.tests, state.map_size = state.qualities,"),
    )),
    Group("reconstruction/classes/state_step.py", "tests/reconstruction/classes/test_new_starts.py", (
        ("of_class.step = 0 if number in begun else RECHECK_ROUND + 1", "of_class.step = 0"),
    )),
    Group("reconstruction/results/class_warnings.py", "tests/reconstruction/classes/test_new_starts.py", (
        ("one, other = resized(one, size), resized(other, size)", "pass"),
    )),
    Group("reconstruction/phases/halves.py", "tests/reconstruction/classes/test_rounds.py", (
        ("known = n_images[:, :, None] * (powers > 0)", "known = n_images[:, :, None].expand_as(powers)"),
        ("return (known / known.sum(dim=0).clamp_min(1e-6) * powers).sum(dim=0)", "return powers.mean(dim=0)"),
    )),
    Group("reconstruction/classes/focus.py", "tests/reconstruction/classes/test_class_focus.py", (
        ("torch.isin(of_class, in_no_map) & ~torch.isin(of_class, left_out)", "torch.isin(of_class, in_no_map)"),
        ("torch.isin(of_class, in_no_map) & ~", "~"),
    )),
    Group("reconstruction/results/classes.py", "tests/reconstruction/results/test_classes.py", (
        ("sorted(order.index(number) for number", "sorted(number for number"),
        ("torch.tensor(flow)[columns][:, columns]", "torch.tensor(flow)[columns]"),
        ("number = number if before is None else before[number]", "pass"),
    )),
    Group("data/runs/own_files.py", "tests/data/runs/test_own_files.py", (
        ('_CLASSES = "class[0-9]", "class[0-9][0-9]"', '_CLASSES = "class*", "class[0-9]"'),
    )),
    Group("reconstruction/classes/rounds.py", "tests/reconstruction/classes/test_states.py", (
        ('network = run.network("joint", max(radii))', 'network = run.network("joint")'),
        ("if run.config.local_states and is_last:", "if False:"),
    )),
    Group("reconstruction/results/hand.py", "tests/reconstruction/results/test_hand.py", (
        ("unmasked={name: inverted(volume) for name, volume in state.maps.unmasked.items()}", "unmasked=state.maps.unmasked"),
        ("run.user_mask = inverted(run.user_mask)", "pass"),
        ("return torch.tensor([-1.0, -1.0, 1.0]", "return torch.tensor([1.0, 1.0, 1.0]"),
        ("return flipped if volume.shape[0] % 2 else flipped.roll((1, 1, 1), (0, 1, 2))", "return flipped"),
    )),
    Group("reconstruction/results/outputs.py", "tests/reconstruction/results/test_outputs.py", (
        ("bare = inverted(bare) if run.config.flip_hand else bare", "pass"),
        ("bare = network.decode(run.full, scale).cpu() * run.observations.gray_scale", "bare = network.decode(run.full, scale).cpu()"),
        ("particle_probability < 0.5)\n\n\ndef list_bad", "particle_probability >= 0.5)\n\n\ndef list_bad"),
        ("if not resolution < split:", "if not resolution < 2 * split:"),
        ("n_bad = int((particle_probabilities(run) < 0.5).sum())\n    if n_bad:", "n_bad = int((particle_probabilities(run) < 0.05).sum())\n    if n_bad:"),
    )),
    Group("reconstruction/results/independence.py", "tests/reconstruction/results/test_outputs.py", (
        ("if run.moves_poses else None", "if True else None"),
    )),
    Group("reconstruction/phases/focus.py", "tests/reconstruction/phases/test_independent_halves.py::test_what_poses_of_the_input_know_of_noise_is_forgotten_where_they_are_refined_and_stays_where_they_are_kept", (
        ("rotation=_turned(run, given.rotation, radius)", "rotation=given.rotation"),
    )),
    Group("reconstruction/phases/halves.py", "tests/reconstruction/phases/test_independent_halves.py::test_the_last_maps_are_told_to_agree_as_the_verdict_will_say", (
        ("run.state.agreement.corrected(agreement_of_half_maps(run, run.mask_on(run.full)).resolution)", "run.state.agreement"),
    )),
    Group("reconstruction/maps/agreement.py", "tests/reconstruction/maps/test_agreement.py", (
        ("return radius * 1.25 + 1", "return radius * 2.5 + 1"),
        ("below = (fsc[1:] < AGREED).nonzero()", "below = (fsc[1:] < 0.8).nonzero()"),
    )),
    Group("reconstruction/maps/symmetrize.py", "tests/reconstruction/maps/test_symmetrize.py", (
        ("return torch.from_numpy(total / len(group))", "return torch.from_numpy(total)"),
        ("position = 2 * (points @ operator.T) + size", "position = 2 * (points @ operator.T) + size - 1"),
    )),
    Group("reconstruction/images/contrast.py", "tests/reconstruction/images/test_contrast.py", (
        ("white[rows] = (score > 0).float()", "white[rows] = (score < 0).float()"),
        ("contrast = \"black\" if is_clear and share < 0.5 else \"white\"", "contrast = \"white\""),
    )),
    Group("reconstruction/images/image_quality.py", "tests/reconstruction/images/test_image_quality.py", (
        ("precision = 2 * amplitude.square() * power", "precision = 2 * amplitude * power"),
        ("gain = 1 + (raw - 1) * spread * precision / (1 + spread * precision)", "gain = raw"),
    )),
    Group("reports/html/elements.py", "tests/reports/test_escaping.py", (
        ("return escape(str(text).encode(\"utf-8\", \"replace\").decode())", "return str(text)"),
        ("return f' {name}=\"{_escaped_text(value)}\"'", "return f' {name}=\"{value}\"'"),
        ("if name in _ADDRESSES and not is_own:", "if False:"),
        ("_ENDS = re.compile(\"</(script|style)\", re.IGNORECASE)", "_ENDS = re.compile(\"</(script|style)\")"),
    )),
    Group("reports/html/sections/curve_sections.py", "tests/reports/test_report.py", (
        ("(\"corrected\", \"corrected for the mask\", 1, False),", "(\"masked\", \"corrected for the mask\", 1, False),"),
        ("(\"unmasked\", \"without mask\", 2, False),", "(\"masked\", \"without mask\", 2, False),"),
        ("line = [(x, fit.intercept + fit.b_factor / 4 * x) for x in ends]", "line = []"),
    )),
    Group("reports/structure/confirmation.py", "tests/reports/test_report.py tests/reports/test_postprocess.py", (
        ("if split is not None and not resolution < split:", "if split is not None and not resolution < 2 * split:"),
    )),
    Group("reports/findings.py", "tests/reports/test_report.py", (
        ("return symmetric_copies(rotation[::step].double(), group)", "return rotation[::step].double()"),
        ("if share <= SPARSE_SHARE and largest <= DENSE_VIEWS:", "if share <= SPARSE_SHARE or largest <= DENSE_VIEWS:"),
    )),
    Group("reports/tables.py", "tests/reports/test_report.py tests/reports/test_commands.py", (
        ("return nyquist is not None and value <= nyquist * (1 + SAME)", "return False"),
    )),
    Group("reports/values.py", "tests/reports/test_escaping.py tests/reports/test_report.py", (
        ("return found if abs(found) <= LARGEST else None", "return found"),
    )),
    Group("reports/inputs.py", "tests/reports/test_escaping.py tests/reports/test_inputs.py", (
        ("if size > MOST_BYTES:", "if False:"),
    )),
    Group("data/runs/plain_settings.py", "tests/data/runs/test_plain_settings.py", (
        ("if self.check_event(yaml.AliasEvent):", "if False:"),
        ("if size > MOST_BYTES:", "if False:"),
        ("except Exception as error:  # PyYAML", "except yaml.YAMLError as error:  # PyYAML"),
    )),
    Group("data/runs/arrays.py", "tests/reports/test_escaping.py", (
        ("if size > MOST_BYTES:", "if False:"),
    )),
    Group("reports/postprocess.py", "tests/reports/test_postprocess.py", (
        ("seed = _seed_of(first.parent)", "seed = 0"),
        ("[path / name for name in UNMASKED_HALF_MAPS]", "[path / name for name in HALF_MAPS]"),
    )),
    Group("data/runs/chimerax.py", "tests/data/runs/test_chimerax.py", (
        ('_Shown(prefix, file, level, fine, coarse)', '_Shown(prefix, file, level, coarse, fine)'),
    )),
    Group("reports/exports/cryosparc_group.py", "tests/reports/exports/test_cryosparc_group.py", (
        ("-1.0 if is_dark else 1.0", "1.0"),
        ("return np.array(names)[particles.images.stack_of]", "return np.array(names)[np.sort(particles.images.stack_of)]"),
    )),
    Group("reports/exports/entry_image.py", "tests/reports/exports/test_deposit.py", (
        ("depth = _first_crossing(volume, level, size).flip(0)", "depth = _first_crossing(volume, level, size)"),
    )),
)  # fmt: skip
