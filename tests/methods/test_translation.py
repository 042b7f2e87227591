"""Stage 1 of translate-then-segment: its losses, its mechanism on the phantom, and its resume."""

import csv

import numpy as np
import pytest
import torch
from monai.engines import SupervisedTrainer
from scipy.ndimage import gaussian_filter
from scipy.stats import wasserstein_distance

from crossem import InputError
from crossem.data import PatchDataset, datalist_items, load_datalist, make_phantom, training_loader
from crossem.losses import adversarial_loss
from crossem.methods import ImageHistory, TrainingRecord, TranslationIteration, WeightAverage, parameter_groups
from crossem.methods.translation import as_slices, frozen
from crossem.networks import CycleGAN
from crossem.transforms import em_augmentation, normalize_slices, training_preprocessing, translate_slices

DOMAINS = ("source", "target")


def blobs(seed, shape=(1, 8, 64, 64)):
    """Structure of which the inverse looks the same."""
    noise = np.random.default_rng(seed).normal(size=shape)
    return normalize_slices(torch.tensor(gaussian_filter(noise, (0, 0, 2, 2)), dtype=torch.float32))


def build(volumes, epochs=1, steps=2, folder=None, resume=False, learning_rate=5e-4, roi=(1, 32, 32), **options):
    torch.manual_seed(0)
    network = CycleGAN(channels=8, residual_blocks=1, discriminator_channels=16)
    average = WeightAverage(network.generators["target"])
    groups = parameter_groups(network.generators, learning_rate, [network.discriminators], learning_rate)
    optimizer = torch.optim.Adam(groups, betas=(0.5, 0.999))
    history = ImageHistory(4)
    datasets = {d: PatchDataset([volumes[d]], dict, roi, em_augmentation(0), seed=i) for i, d in enumerate(DOMAINS)}
    parts = {"network": network, "optimizer": optimizer, "history": history}
    records = [] if folder is None else [TrainingRecord(folder, None, average, parts, resume)]
    return SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=training_loader(batch_size=2, steps_per_epoch=steps, **datasets),
        network=network,
        optimizer=optimizer,
        loss_function=adversarial_loss,
        iteration_update=TranslationIteration(average, history, **options),
        train_handlers=records,
        decollate=False,
    )


def toy(seed=0):
    return {d: {"image": blobs(10 * seed + i)} for i, d in enumerate(DOMAINS)}


def batch(trainer):
    trainer.state.iteration, trainer.state.device = 1, torch.device("cpu")
    return next(iter(trainer.data_loader))


def test_the_terms_are_equations_3_to_5():
    trainer = build(toy(), cycle_weight=7.0, structure_weight=0.0, noise=0.0)
    patches, network = batch(trainer), trainer.network
    output = trainer._process_function.losses(trainer, patches)
    real = {d: as_slices(patches[d]["image"]) for d in DOMAINS}
    fake = {
        "source": network.generators["source"](real["target"]),
        "target": network.generators["target"](real["source"]),
    }
    back = {
        "source": network.generators["source"](fake["target"]),
        "target": network.generators["target"](fake["source"]),
    }
    assert set(output.terms) == {f"{t}_{d}" for t in ("adversarial_to", "cycle", "discriminator") for d in DOMAINS}
    for d in DOMAINS:
        probability = {k: torch.sigmoid(network.discriminate(d, x[d])) for k, x in (("real", real), ("fake", fake))}
        expected = {
            f"adversarial_to_{d}": -probability["fake"].log().mean(),
            f"cycle_{d}": 7 * (back[d] - real[d]).abs().mean() / 4,
            f"discriminator_{d}": -(probability["real"].log().mean() + (1 - probability["fake"]).log().mean()) / 2,
        }
        for name, value in expected.items():
            assert output.terms[name].item() == pytest.approx(value.item(), rel=1e-4), name


@pytest.mark.parametrize("name", ["cycle_weight", "structure_weight"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), "ten"])
def test_a_weight_that_is_none_is_refused(name, value):
    with pytest.raises(InputError, match=f"{name} is {value!r}: give a number, 0 or more"):
        TranslationIteration(WeightAverage(CycleGAN(4, 1, 4)), ImageHistory(4), **{name: value})


@pytest.mark.parametrize("mixed", [False, True])
def test_each_term_trains_the_networks_it_should_and_no_other(mixed):
    """In mixed precision too, where autocast keeps the cast weights."""
    trainer = build(toy())
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
        terms = trainer._process_function.losses(trainer, batch(trainer)).terms
    assert all(term.dtype == torch.float32 for term in terms.values())
    network = trainer.network
    for name, term in terms.items():
        network.zero_grad(set_to_none=True)
        term.backward(retain_graph=True)
        reached = {
            f"{kind}_{d}"
            for kind, nets in (("generator", network.generators), ("discriminator", network.discriminators))
            for d in DOMAINS
            if any(p.grad is not None and p.grad.abs().max() > 0 for p in nets[d].parameters())
        }
        both = {"generator_source", "generator_target"}
        expected = {f"generator_{name[-6:]}"} if name.startswith("adversarial") else both
        assert reached == ({name} if name.startswith("discriminator") else expected), name


def test_frozen_parameters_are_trained_again_afterwards():
    network = CycleGAN(4, 1, 4).discriminators
    first = next(network.parameters()).requires_grad_(False)
    with frozen(network):
        assert not any(p.requires_grad for p in network.parameters())
    assert not first.requires_grad and all(p.requires_grad for p in network.parameters() if p is not first)


def test_slices_of_a_patch_are_in_order():
    patches = torch.arange(2 * 3 * 4 * 4.0).reshape(2, 1, 3, 4, 4)
    assert torch.equal(as_slices(patches)[4, 0], patches[1, 0, 1])


def distance(volume, target):
    """How far the distribution of the grey values is from the target's."""
    return wasserstein_distance(volume.flatten().numpy(), target.flatten().numpy())


def test_the_cycle_closes_and_translations_come_closer_to_the_target(tmp_path):
    data = load_datalist(make_phantom(tmp_path / "phantom", size="small"))
    preprocessing = training_preprocessing((45, 9.5, 9.5), num_classes=2)
    volumes = {d: preprocessing(datalist_items(data, d, "training", labelled=False)[0]) for d in DOMAINS}
    volumes = {d: {"image": item["image"].as_tensor()} for d, item in volumes.items()}
    options = {"learning_rate": 1e-3, "cycle_weight": 2.0, "noise": 0.0}  # so small networks learn slowly
    trainer = build(volumes, epochs=8, steps=16, folder=tmp_path / "run", roi=(1, 48, 48), **options)
    trainer.run()
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").open()))
    for name in ("cycle_source", "cycle_target", "structure"):
        assert float(rows[-1][name]) < 0.7 * float(rows[0][name])
    assert {p.name for p in (tmp_path / "run" / "images").iterdir()} == {"source_to_target.png", "target_to_source.png"}
    source, target = (volumes[d]["image"] for d in DOMAINS)
    generator = CycleGAN(8, 1, 16).generators["target"]
    generator.load_state_dict(torch.load(tmp_path / "run" / "model.pt", weights_only=True))
    translated = normalize_slices(translate_slices(source, generator))
    assert distance(translated, target) < 0.95 * distance(source, target)


def correlation(trainer, volume):
    translated = translate_slices(volume["image"], trainer.network.generators["target"])
    return np.corrcoef(translated.flatten(), volume["image"].flatten())[0, 1]


def invert_contrast(trainer, volumes):
    """Train both generators to x -> -x, where foreground and background are swapped and the cycle is closed."""
    optimizer = torch.optim.Adam(trainer.network.generators.parameters(), lr=3e-3)
    x = as_slices(torch.stack([v["image"] for v in volumes.values()]))[::4, :, :32, :32]
    for _ in range(100):
        optimizer.zero_grad()
        sum((g(x) + x).abs().mean() for g in trainer.network.generators.values()).backward()
        optimizer.step()


def test_the_structure_loss_brings_inverted_contrast_back():
    volumes, signs = toy(), {}
    for weight in (0.0, 5.0):
        trainer = build(volumes, epochs=1, steps=15, structure_weight=weight, learning_rate=1e-3)
        invert_contrast(trainer, volumes)
        assert correlation(trainer, volumes["source"]) < -0.6
        trainer.run()
        signs[weight] = correlation(trainer, volumes["source"])
    assert signs[5.0] > 0.8 and signs[0.0] < 0.4, signs


def test_a_resumed_stage_1_is_the_uninterrupted_one_with_its_history(tmp_path):
    whole = build(toy(), 4, folder=tmp_path / "whole")
    whole.run()
    build(toy(), 2, folder=tmp_path / "parts").run()
    build(toy(), 4, folder=tmp_path / "parts", resume=True).run()
    saved = [torch.load(tmp_path / f / "checkpoint.pt", weights_only=True)["parts"] for f in ("whole", "parts")]
    for part in ("network", "history", "average"):
        flat = [dict(_flat(s[part])) for s in saved]
        assert flat[0].keys() == flat[1].keys() and all(torch.equal(flat[0][k], flat[1][k]) for k in flat[0])
    assert saved[0]["history"]["target"].shape == (4, 1, 32, 32)
    model = torch.load(tmp_path / "whole" / "model.pt", weights_only=True)
    assert model.keys() == whole.network.generators["target"].state_dict().keys()


def _flat(state, prefix=""):
    for key, value in state.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, torch.Tensor):
            yield f"{prefix}{key}", value
