import numpy as np
import pytest

from export import ParityError, compare


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.fixture
def inputs():
    generator = np.random.default_rng(0)
    return {f"batch {n}": generator.normal(size=(n, 5)) for n in (1, 2, 7)}


def test_every_figure_of_a_pair_that_agrees_is_kept(inputs):
    record = compare(softmax, lambda x: softmax(x) + 1e-6, inputs, atol=1e-5, names=("numpy", "shifted"))
    assert record.max_abs_diff == pytest.approx(1e-6)
    largest = min(softmax(x).max() for x in inputs.values())
    assert record.max_rel_diff == pytest.approx(1e-6 / largest)
    assert (record.argmax_agreement, record.decisions, record.ties) == (1.0, 10, 0)
    assert (record.examples, record.batch_sizes, record.inputs) == (10, (1, 2, 7), tuple(inputs))
    assert (record.reference, record.candidate, record.atol, record.rtol) == ("numpy", "shifted", 1e-5, 0.0)


def test_the_error_names_the_pair_the_input_the_place_and_the_difference(inputs):
    def wrong(x):
        y = softmax(x)
        if len(y) == 7:
            y[3, 1] += 0.25
        return y

    with pytest.raises(
        ParityError, match=r"shifted against numpy on batch 7 .* at most 1e-05.* Received: 0.25 at \(3, 1\)"
    ):
        compare(softmax, wrong, inputs, atol=1e-5, names=("numpy", "shifted"))


def test_a_difference_just_inside_the_tolerance_passes_and_just_outside_fails(inputs):
    assert compare(softmax, lambda x: softmax(x) + 0.9e-5, inputs, atol=1e-5).max_abs_diff == pytest.approx(0.9e-5)
    with pytest.raises(ParityError, match="differ by at most"):
        compare(softmax, lambda x: softmax(x) + 1.1e-5, inputs, atol=1e-5)


def test_the_relative_tolerance_grows_with_the_reference():
    inputs = {"large": np.full((2, 3), 1000.0)}
    assert compare(np.copy, lambda x: x + 0.05, inputs, atol=0, rtol=1e-4, decision=None).max_rel_diff == pytest.approx(
        5e-5
    )
    with pytest.raises(ParityError, match="differ by at most 0.1"):
        compare(np.copy, lambda x: x + 0.2, inputs, atol=0, rtol=1e-4, decision=None)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_fails_even_where_both_agree(inputs, value):
    def spoil(x):
        return np.full((len(x), 3), value)

    with pytest.raises(ParityError, match="finite.* 3 values of the reference"):
        compare(spoil, spoil, inputs, atol=1.0)
    with pytest.raises(ParityError, match="finite.* values of the candidate"):
        compare(lambda x: np.zeros((len(x), 3)), spoil, inputs, atol=1.0)


def test_another_shape_fails(inputs):
    with pytest.raises(ParityError, match=r"shape \(1, 5\). Received: \(1, 4\)"):
        compare(softmax, lambda x: softmax(x)[:, :4], inputs, atol=1.0)


def test_ties_are_counted_and_left_out():
    close = np.array([[0.5, 0.499999], [0.9, 0.1]])
    record = compare(np.copy, lambda x: x[:, :] + np.array([[-2e-6, 2e-6], [0, 0]]), {"close": close}, atol=1e-5)
    assert (record.decisions, record.ties, record.argmax_agreement) == (1, 1, 1.0)


def test_another_arg_max_above_the_tolerance_fails():
    clear = np.array([[0.50001, 0.49999]])
    with pytest.raises(ParityError, match="decide alike. Received: 1 of 1"):
        compare(np.copy, lambda x: x + np.array([[-1.1e-5, 1.1e-5]]), {"clear": clear}, atol=1.2e-5)


def test_a_share_of_the_decisions_may_be_enough():
    def one_other(x):
        return x + np.where(np.arange(10)[:, None] == 3, [-0.011, 0.011], [0.0, 0.0])

    inputs = {"near": np.tile([[0.51, 0.49]], (10, 1))}
    record = compare(np.copy, one_other, inputs, atol=0.015, agreement=0.9)
    assert (record.argmax_agreement, record.decisions, record.agreement) == (0.9, 10, 0.9)
    with pytest.raises(ParityError, match="decide alike in 95% of cases. Received: 1 of 10"):
        compare(np.copy, one_other, inputs, atol=0.015, agreement=0.95)


def test_sigmoids_are_decided_by_one_half():
    values = np.array([[0.9, 0.1], [0.500001, 0.2]])
    record = compare(np.copy, lambda x: x - 2e-6, {"values": values}, atol=1e-5, decision="threshold")
    assert (record.decisions, record.ties, record.argmax_agreement) == (3, 1, 1.0)


def test_nothing_is_decided_by_one_output_or_where_there_is_no_decision(inputs):
    one = compare(lambda x: x[:, :1], lambda x: x[:, :1], inputs, atol=0.0)
    none = compare(np.copy, np.copy, inputs, atol=0.0, decision=None)
    assert one.argmax_agreement is None and none.argmax_agreement is None
    assert one.max_abs_diff == none.max_abs_diff == 0.0


def test_recorded_outputs_can_be_the_reference(inputs):
    recorded = {name: softmax(x) for name, x in inputs.items()}
    assert compare(recorded, softmax, inputs, atol=0.0).max_abs_diff == 0.0


@pytest.mark.parametrize("inputs", [{}, {"empty": np.zeros((0, 3))}])
def test_comparing_nothing_is_refused(inputs):
    with pytest.raises(ValueError, match="at least one input"):
        compare(np.copy, np.copy, inputs, atol=1.0)
