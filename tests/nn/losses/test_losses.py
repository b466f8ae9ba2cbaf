"""Losses against the formulas as the papers write them, in double precision, with gradients."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from scipy import sparse
from torch.nn.functional import normalize

from spotscape.nn import (
    Features,
    Neighborhoods,
    PrototypeBank,
    Reduce,
    consistency_loss,
    contrast_loss,
    cosine_reconstruction_loss,
    draw_meetings,
    l2_normalize,
    prototype_loss,
    reconstruction_errors,
    scaling_loss,
    telescope_loss,
)
from spotscape.nn.batches import Known
from spotscape.nn.losses.cosine import guarded_log
from spotscape.nn.losses.scaling import Meeting
from spotscape.nn.losses.telescope import telescope_grams, telescope_of_batch, telescope_value


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def same(found: torch.Tensor, expected: torch.Tensor, *of: torch.Tensor, rtol: float = 1e-9) -> None:
    """Compare values, and gradients of their sums."""
    torch.testing.assert_close(found, expected, rtol=rtol, atol=1e-12)
    pairs = zip(*(torch.autograd.grad(one.sum(), of, retain_graph=True) for one in (found, expected)), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=rtol, atol=1e-10)


def dense_telescope(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    a, b = normalize(first, dim=-1), normalize(second, dim=-1)
    return (a @ b.mT - b @ a.mT).square().sum((-2, -1)) / a.shape[-2] ** 2


class TestTelescope:
    @pytest.mark.parametrize("shape", [(50, 4), (3, 50, 4)])
    def test_the_closed_form_is_the_dense_one(self, shape: tuple[int, ...]) -> None:
        views = [drawn(*shape, seed=seed).requires_grad_() for seed in (0, 1)]
        same(telescope_loss(*views), dense_telescope(*views), *views)

    def test_it_keeps_its_digits_where_the_views_nearly_agree(self) -> None:
        first, away = drawn(200, 8), drawn(200, 8, seed=1)
        exact = dense_telescope(first, first + 1e-4 * away)
        found = telescope_loss(first.float(), (first + 1e-4 * away).float())
        assert found.double().item() == pytest.approx(exact.item(), rel=2e-3)

    def test_grams_of_parts_add_up(self) -> None:
        a, b = (l2_normalize(drawn(50, 4, seed=seed)) for seed in (0, 1))
        parts = sum(telescope_grams(a[part], b[part]) for part in (slice(20), slice(20, 50)))
        torch.testing.assert_close(telescope_value(parts, 50), dense_telescope(a, b))

    def test_spots_around_a_batch_do_not_count(self) -> None:
        a, b = (l2_normalize(drawn(2, 50, 4, seed=seed)) for seed in (0, 1))
        batch = type("B", (), {"n_inside": 30, "n_total": 30})()
        torch.testing.assert_close(
            telescope_of_batch(a, b, batch, Reduce()), dense_telescope(a[:, :30], b[:, :30]), rtol=1e-9, atol=0
        )


class TestReconstruction:
    @pytest.mark.parametrize("kind", ["components", "dense", "sparse"])
    @pytest.mark.parametrize(("n_views", "hidden"), [(2, 8), (2, 3), (1, 3)])
    def test_it_is_the_error_of_the_genes(self, kind: str, n_views: int, hidden: int) -> None:
        rng = np.random.default_rng(0)
        matrix = rng.poisson(0.5, (40, 70 if kind != "components" else 6)).astype(np.float64)
        loadings = np.linalg.qr(rng.normal(size=(70, 6)))[0] if kind == "components" else None
        given = sparse.csr_array(matrix) if kind == "sparse" else matrix
        options = {} if loadings is None else {"loadings": loadings, "unit": None}
        features = Features.of(given, dtype=torch.float64, **options)
        activations = drawn(n_views, 3, 40, hidden).relu().requires_grad_()
        weight, bias = drawn(3, hidden, matrix.shape[1], seed=1).requires_grad_(), drawn(3, 1, matrix.shape[1], seed=2)
        bias.requires_grad_()
        found = reconstruction_errors(features, activations, weight, bias) / 40
        away = (activations @ weight + bias) * features.unit - torch.tensor(matrix)
        genes = away if loadings is None else away @ torch.tensor(loadings).T
        same(found, genes.square().mean((2, 3)).mean(0), activations, weight, bias)


class TestScaling:
    SLICES = tuple(torch.arange(30).tensor_split(3))

    @staticmethod
    def dense(
        a: torch.Tensor, b: torch.Tensor, slices: tuple[torch.Tensor, ...], k: int, mutual: int | None = None
    ) -> torch.Tensor:
        similarity = a @ b.T
        terms = []
        for i, j in itertools.permutations(range(len(slices)), 2):
            own, other = slices[i], slices[j]
            inside = similarity[own][:, own].clone()
            inside.fill_diagonal_(-torch.inf)
            best = inside.topk(min(k, len(own) - 1), dim=1).values.mean(1)
            across = similarity[own][:, other].topk(min(k, len(other)), dim=1).values.mean(1)
            errors = (best - across).square()
            if mutual is not None:
                # Rank of u among the spots of its slice, seen from its most similar spot of the other slice.
                match = similarity[own][:, other].argmax(1)
                ranks = similarity[own][:, other[match]].T.argsort(1, descending=True).argsort(1)
                errors = errors * (ranks.diagonal() < mutual)
            terms.append(errors.mean())
        return torch.stack(terms).mean()

    @pytest.mark.parametrize("k", [1, 3, 50])
    def test_all_pairs_are_the_dense_formula(self, k: int) -> None:
        a, b = (l2_normalize(drawn(1, 30, 4, seed=seed)).requires_grad_() for seed in (0, 1))
        meetings = draw_meetings(self.SLICES, None, 0)
        found = scaling_loss(Known(a), Known(b), meetings, n_neighbors=k)
        same(found, self.dense(a[0], b[0], self.SLICES, k)[None], a, b)

    @pytest.mark.parametrize(("k", "mutual"), [(1, 1), (3, 1), (3, 4)])
    def test_only_mutual_matches_count(self, k: int, mutual: int) -> None:
        a, b = (l2_normalize(drawn(1, 30, 4, seed=seed)).requires_grad_() for seed in (0, 1))
        found = scaling_loss(Known(a), Known(b), draw_meetings(self.SLICES, None, 0), n_neighbors=k, mutual=mutual)
        expected = self.dense(a[0], b[0], self.SLICES, k, mutual)
        assert 0 < expected < self.dense(a[0], b[0], self.SLICES, k)
        same(found, expected[None], a, b)

    def test_a_region_without_a_counterpart_is_not_pulled(self) -> None:
        """Two slices share the first region; the second region is in one of them only, whatever the offset."""
        regions = torch.eye(3, dtype=torch.float64)[[0] * 10 + [1] * 10 + [0] * 10]
        offset = torch.tensor([[0.0, 0.0, 0.5]], dtype=torch.float64) * (torch.arange(30) >= 20)[:, None]
        rows = l2_normalize((regions + offset + 0.01 * drawn(30, 3))[None]).requires_grad_()
        meetings = draw_meetings((torch.arange(20), torch.arange(20, 30)), None, 0)
        pulled: dict[int | None, torch.Tensor] = {}
        for mutual in (None, 3):
            loss = scaling_loss(Known(rows), Known(rows), meetings, n_neighbors=3, mutual=mutual)
            (gradient,) = torch.autograd.grad(loss.sum(), rows)
            pulled[mutual] = gradient[0].norm(dim=1)
        assert (pulled[None][:20] > 0).all()
        assert (pulled[3][10:20] == 0).all()
        assert (pulled[3][:10] > 0).any()

    def test_a_sample_of_pairs_and_spots_has_its_expectation(self) -> None:
        a, b = (l2_normalize(drawn(1, 30, 4, seed=seed)) for seed in (0, 1))
        draws = [
            scaling_loss(Known(a), Known(b), draw_meetings(self.SLICES, 9, seed), n_neighbors=3).item()
            for seed in range(600)
        ]
        error = np.std(draws) / len(draws) ** 0.5
        assert abs(np.mean(draws) - self.dense(a[0], b[0], self.SLICES, 3).item()) < 4 * error

    def test_work_does_not_grow_with_the_pairs(self) -> None:
        many = tuple(torch.arange(400).tensor_split(100))
        meetings = draw_meetings(many, 64, 0)
        assert len(meetings) == 16
        assert sum(len(one.places) for one in meetings) == 64
        assert all(len(one.own) + len(one.other) == 8 for one in meetings)

    def test_every_pair_of_slices_meets_as_often(self) -> None:
        """Matches are sought among a random part of large slices, here 8 of 10; the places are in that part."""
        pairs: Counter[tuple[int, int]] = Counter()
        own, other = torch.zeros(30), torch.zeros(30)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("spotscape.nn.losses.scaling._MOST_CANDIDATES", 24)
            for seed in range(400):
                for meeting in draw_meetings(self.SLICES, 9, seed):
                    assert len(meeting.own.unique()) == len(meeting.other.unique()) == 8
                    assert len(meeting.places) == 3
                    assert meeting.places.max() < 8
                    pairs[int(meeting.own[0]) // 10, int(meeting.other[0]) // 10] += 1
                    own[meeting.own] += 1
                    other[meeting.other] += 1
        assert set(pairs) == set(itertools.permutations(range(3), 2))
        # 1,200 meetings over six pairs, and 400 of each slice, of which a spot is in eight tenths.
        assert max(abs(count - 200) for count in pairs.values()) < 5 * 200**0.5
        assert (own - 320).abs().max() < 5 * (400 * 0.8 * 0.2) ** 0.5
        assert (other - other.mean()).abs().max() < 6 * 320**0.5

    def test_small_slices_are_taken_whole(self) -> None:
        """Of very many slices two spots each are left; nobody is asked twice as often as there are spots."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("spotscape.nn.losses.scaling._MOST_CANDIDATES", 3)
            assert {len(one.own) for one in draw_meetings(self.SLICES, 9, 0)} == {2}
            patch.setattr("spotscape.nn.losses.scaling._MOST_CANDIDATES", 30)
            for one in draw_meetings(self.SLICES, 300, 0):
                assert one.own.tolist() in [rows.tolist() for rows in self.SLICES]
                assert len(one.places) == 10

    def test_a_meeting_without_a_spot_of_the_batch_is_no_term(self) -> None:
        a, b = (l2_normalize(drawn(1, 30, 4, seed=seed)) for seed in (0, 1))
        inside = torch.zeros(30, dtype=torch.bool)
        inside[:10] = True
        all_pairs = draw_meetings(self.SLICES, None, 0, inside=inside)
        assert [len(one.places) for one in all_pairs] == [10, 10, 0, 0, 0, 0]
        assert len(draw_meetings(self.SLICES, 9, 0, inside=inside)) == 1
        found = scaling_loss(Known(a), Known(b), all_pairs, n_neighbors=3)
        similarity = a[0] @ b[0].T
        own = similarity[:10, :10].clone().fill_diagonal_(-torch.inf).topk(3, dim=1).values.mean(1)
        across = [similarity[:10, rows].topk(3, dim=1).values.mean(1) for rows in self.SLICES[1:]]
        expected = sum((own - one).square().mean() for one in across) / 6
        torch.testing.assert_close(found[0], expected, rtol=1e-9, atol=0)

    def test_only_spots_of_the_batch_are_asked_for(self) -> None:
        inside = torch.zeros(30, dtype=torch.bool)
        inside[[1, 2, 25]] = True
        asked = {
            int(one.own[place])
            for seed in range(20)
            for one in draw_meetings(self.SLICES, 9, seed, inside=inside)
            for place in one.places
        }
        assert asked == {1, 2, 25}
        nothing = scaling_loss(Known(torch.ones(2, 30, 4)), Known(torch.ones(2, 30, 4)), [])
        assert nothing.tolist() == [0, 0]
        assert Meeting(*(torch.arange(2) for _ in range(3))).places.tolist() == [0, 1]


class TestPrototypes:
    def test_the_loss_is_the_cross_entropy_of_cosines(self) -> None:
        rows = l2_normalize(drawn(2, 20, 4)).requires_grad_()
        centres = [l2_normalize(drawn(2, k, 4, seed=k)) for k in (3, 5)]
        labels = [torch.randint(0, k, (2, 20), generator=torch.Generator().manual_seed(0)) for k in (3, 5)]
        expected = torch.zeros(2, dtype=torch.float64)
        for own, chosen in zip(centres, labels, strict=True):
            logits = torch.einsum("bnd,bkd->bnk", rows, own) / 0.75
            likelihood = logits.log_softmax(2).gather(2, chosen[..., None])[..., 0]
            expected = expected - likelihood.sum(1) / 2
        same(prototype_loss(rows, centres, labels), expected, rows)

    def test_prototypes_follow_the_groups_and_do_not_know_each_other(self) -> None:
        corners = torch.eye(4)[torch.arange(40) % 4]
        rows = l2_normalize(corners + 0.05 * drawn(40, 4, dtype=torch.float32))
        bank = PrototypeBank((4,), 2, 4)
        batch = type("B", (), {"n_inside": 40, "n_total": 40})()
        labels = bank.update(torch.stack([rows, rows.flip(1)]), batch, Reduce(), 0)
        for own in labels[0]:
            assert len({tuple(own[corner::4].tolist()) for corner in range(4)}) == 4
            assert all(len(own[corner::4].unique()) == 1 for corner in range(4))
        alone = PrototypeBank((4,), 1, 4)
        alone.update(rows[None], batch, Reduce(), 0)
        assert torch.equal(alone.centres[0][0], bank.centres[0][0])

    def test_a_step_moves_prototypes_to_the_means_of_their_spots(self) -> None:
        """From where they are, not from anew; one without spots stays, and spots around a batch do not count."""
        turns = torch.tensor([0.0, 20, 40, 100, 170, 180])
        rows = torch.stack([turns.deg2rad().cos(), turns.deg2rad().sin()], 1)[None]
        bank = PrototypeBank((3,), 1, 2)
        bank.get_buffer("started").fill_(True)
        bank.centres[0].copy_(torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]]))
        batch = type("B", (), {"n_inside": 4, "n_total": 4})()
        labels = bank.update(rows, batch, Reduce(), 0)
        assert labels[0].tolist() == [[0, 0, 0, 1]]
        angles = torch.atan2(*bank.centres[0][0].T.flip(0)).rad2deg()
        torch.testing.assert_close(angles, torch.tensor([20.0, 100.0, -90.0]))
        assert bool(PrototypeBank((3,), 1, 2).get_buffer("started")) is False

    def test_the_first_step_looks_for_them_and_the_second_follows(self) -> None:
        rows = l2_normalize(drawn(1, 60, 4, dtype=torch.float32))
        batch = type("B", (), {"n_inside": 60, "n_total": 60})()
        bank = PrototypeBank((2, 5), 1, 4)
        assert [tuple(centres.shape) for centres in bank.centres] == [(1, 2, 4), (1, 5, 4)]
        bank.update(rows, batch, Reduce(), 0)
        assert bank.get_buffer("started")
        expected = []
        for centres in bank.centres:
            labels = (rows @ centres.mT).argmax(2)[0]
            expected.append(
                torch.stack([normalize(rows[0, labels == k].sum(0), dim=0) for k in range(len(centres[0]))])
            )
        bank.update(rows, batch, Reduce(), 1)
        for centres, wanted in zip(bank.centres, expected, strict=True):
            torch.testing.assert_close(centres[0], wanted)


class TestAngles:
    def test_rows_of_any_length_have_a_direction(self) -> None:
        rows = torch.tensor([[3e30, 4e30], [3e-15, 4e-15], [0.0, 0.0]], requires_grad=True)
        found = l2_normalize(rows)
        torch.testing.assert_close(found, torch.tensor([[0.6, 0.8], [0.6, 0.8], [0.0, 0.0]]))
        found.sum().backward()
        assert rows.grad is not None
        assert rows.grad.isfinite().all()
        assert rows.grad[2].abs().max() <= 2

    def test_a_direction_has_no_gradient_along_itself(self) -> None:
        rows = drawn(5, 3).requires_grad_()
        l2_normalize(rows)[:, 0].sum().backward()
        assert rows.grad is not None
        torch.testing.assert_close((rows.grad * rows).sum(1), torch.zeros(5, dtype=torch.float64))

    def test_the_logarithm_goes_on_as_its_tangent(self) -> None:
        x = torch.tensor([0.5, 1e-3, 1e-9, 0.0, -1e-3], dtype=torch.float64, requires_grad=True)
        found = guarded_log(x, 1e-3)
        assert found[:2].tolist() == pytest.approx([math.log(0.5), math.log(1e-3)])
        (slope,) = torch.autograd.grad(found.sum(), x)
        assert slope.tolist() == pytest.approx([2, 1000, 1000, 1000, 1000])

    def test_reconstruction_of_directions(self) -> None:
        decoded, target = drawn(2, 30, 5).requires_grad_(), drawn(30, 5, seed=1)
        cosines = torch.cosine_similarity(decoded, target[None], dim=-1)
        same(cosine_reconstruction_loss(decoded, target), -((1 + cosines) / 2).square().log(), decoded)
        ends = cosine_reconstruction_loss(torch.tensor([[2.0, 0], [0, 1], [-1, 0]]), torch.tensor([[1.0, 0]] * 3))
        assert ends[:2].tolist() == pytest.approx([0, 2 * math.log(2)], abs=1e-6)
        assert ends[2].isfinite()

    def test_an_embedding_at_the_end_of_another_has_the_tangent(self) -> None:
        """A spot opposite to its own target, and aligned with another's: (log .1 - 1) twice, and once for both."""
        online, target = torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
        tangent = math.log(0.1) - 1
        found = consistency_loss(online, target[:1], torch.empty(1, 0, dtype=torch.int64), eps=0.1)
        assert found.item() == pytest.approx(-tangent)
        found = consistency_loss(online.expand(2, 2), target, torch.tensor([[1], [0]]), eps=0.1)
        assert found.tolist() == pytest.approx([-tangent - tangent / 2, 0.0], abs=1e-6)
        assert cosine_reconstruction_loss(-online, online, eps=0.1).item() == pytest.approx(-2 * tangent)

    @pytest.mark.parametrize("k", [0, 1, 3])
    def test_consistency_is_the_formula(self, k: int) -> None:
        online, target = drawn(2, 20, 4).requires_grad_(), drawn(2, 20, 4, seed=1).requires_grad_()
        others = (
            torch.stack([(torch.arange(20) + shift) % 20 for shift in range(1, k + 1)], 1)
            if k
            else torch.empty(20, 0, dtype=torch.int64)
        )
        found = consistency_loss(online, target, others)
        positive = (1 + torch.cosine_similarity(online, target.detach(), dim=-1)) / 2
        expected = -positive.square().log() / 2
        if k:
            pairs = torch.cosine_similarity(online[:, :, None], target.detach()[:, others], dim=-1)
            expected = expected - (1 - ((1 + pairs) / 2).square()).log().mean(-1) / 2
        same(found, expected, online)
        assert torch.autograd.grad(found.sum(), target, allow_unused=True)[0] is None


class TestContrast:
    HOODS = Neighborhoods(torch.tensor([0, 2, 5]), torch.tensor([0, 2, 3, 6]), torch.tensor([1, 3, 0, 4, 6, 7]), 8)
    NEGATIVES = torch.tensor([4, 1, 0])

    @pytest.mark.parametrize(("pairing", "tile"), [("row", 2**22), ("all", 2**22), ("all", 6), ("all", 1)])
    def test_it_is_the_cross_entropy_of_scores(self, pairing: str, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """In tiles of all pairs, of two rows and one, and of one."""
        monkeypatch.setattr("spotscape.nn.losses.contrast._TILE_ENTRIES", tile)
        z, weight, bias = (drawn(*shape, seed=seed).requires_grad_() for seed, shape in enumerate([(8, 3), (3, 3), ()]))
        found = contrast_loss(z, self.HOODS, self.NEGATIVES, weight, bias, pairing=pairing).mean()
        groups = self.HOODS.indices.split(self.HOODS.indptr.diff().tolist())
        summaries = torch.stack([z[own].mean(0).sigmoid() for own in groups])
        scores = [z[rows] @ weight @ summaries.T + bias for rows in (self.HOODS.anchors, self.NEGATIVES)]
        if pairing == "row":
            scores = [score.diagonal() for score in scores]
        expected = -scores[0].sigmoid().log().mean() - (1 - scores[1].sigmoid()).log().mean()
        same(found, expected, z, weight, bias)

    def test_it_knows_its_pairings(self) -> None:
        with pytest.raises(ValueError, match="pairing"):
            contrast_loss(drawn(8, 3), self.HOODS, self.NEGATIVES, drawn(3, 3), drawn(), pairing="none")
