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
    largest = max(softmax(x).max() for x in inputs.values())
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


def test_the_relative_tolerance_is_a_share_of_each_channels_own_range():
    boxes_and_scores = np.array([[0.0, 0.2], [640.0, 0.8], [320.0, 0.5]])
    inputs = {"one": boxes_and_scores[:1], "two": boxes_and_scores[1:]}

    def off(boxes, scores):
        return lambda x: x + np.array([boxes, scores])

    record = compare(np.copy, off(0.06, 5e-5), inputs, atol=0, rtol=1e-4, decision=None)
    assert record.max_rel_diff == pytest.approx(0.06 / 640, rel=1e-3) and record.share == pytest.approx(0.9375)
    with pytest.raises(ParityError, match=r"at most 0.064. Received: 0.07 at \(0, 0\)"):
        compare(np.copy, off(0.07, 0), inputs, atol=0, rtol=1e-4, decision=None)
    with pytest.raises(ParityError, match=r"at most 6e-05. Received: 0.0001 at \(0, 1\)"):
        compare(np.copy, off(0, 1e-4), inputs, atol=0, rtol=1e-4, decision=None)


def test_a_value_that_all_examples_share_excuses_nothing():
    inputs = {"large": np.array([[1e4, 1e4 + 2]]).T}
    with pytest.raises(ParityError, match="at most 0.0002"):
        compare(np.copy, lambda x: x + 0.1, inputs, atol=0, rtol=1e-4, decision=None)


def test_a_floor_is_allowed_to_each_channel_or_to_all_of_them():
    inputs = {"flat": np.ones((3, 2))}
    floor = {"": np.array([0.1, 0.001])}
    assert compare(np.copy, lambda x: x + [0.09, 0.0009], inputs, atol=0, floor=floor).share == pytest.approx(0.9)
    with pytest.raises(ParityError, match=r"at most 0.001. Received: 0.002 at \(0, 1\)"):
        compare(np.copy, lambda x: x + [0.09, 0.002], inputs, atol=0, floor=floor)
    # Measured on outputs of another width, it is the largest that holds.
    compare(np.copy, lambda x: x + 0.09, {"flat": np.ones((3, 4))}, atol=0, floor=floor, decision=None)


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool"])
def test_integers_and_booleans_are_equal_unless_they_hang_on_rounding(dtype):
    values = np.array([[0, 1, 1]], dtype)
    other = np.array([[0, 1, 0]], dtype)
    with pytest.raises(ParityError, match=r"to be equal. Received: 1 of 3 values differ, at \(0, 2\)"):
        compare({"x": values}, {"x": other}, {"x": values}, atol=10.0)
    unsettled = {"x": {"": np.array([[False, False, True]])}}
    record = compare({"x": values}, {"x": other}, {"x": values}, atol=0.0, unsettled=unsettled)
    assert (record.ties, record.max_abs_diff) == (1, 0.0)


def test_nan_is_equal_to_nan_and_of_nan_alone_nothing_is_known(inputs):
    def spoil(x):
        return np.where(np.arange(5) == 2, np.nan, x)

    assert compare(spoil, spoil, inputs, atol=0.0).max_abs_diff == 0.0
    for one, other in ((spoil, np.copy), (np.copy, spoil)):
        with pytest.raises(ParityError, match="NaN where the reference is. Received: 1 values"):
            compare(one, other, inputs, atol=10.0)
    with pytest.raises(ParityError, match="only NaN"):
        compare(lambda x: x * np.nan, lambda x: x * np.nan, inputs, atol=10.0)


def test_an_infinity_is_only_equal_to_the_same_one():
    x = np.array([[np.inf, 1.0, -np.inf]])
    assert compare({"x": x}, {"x": x + [[0, 0.5, 0]]}, {"x": x}, atol=1.0, decision=None).max_abs_diff == 0.5
    for wrong in ([[np.inf, 1.0, np.inf]], [[1e30, 1.0, -np.inf]], [[np.inf, np.inf, -np.inf]]):
        with pytest.raises(ParityError, match="differ by at most"):
            compare({"x": x}, {"x": np.array(wrong)}, {"x": x}, atol=1.0, decision=None)


def test_another_type_fails(inputs):
    with pytest.raises(ParityError, match="dtype float64. Received: float32"):
        compare(softmax, lambda x: softmax(x).astype("float32"), inputs, atol=1.0)


def test_of_ties_alone_the_agreement_is_not_known():
    close = np.array([[0.5, 0.499999]])
    record = compare(np.copy, lambda x: x[:, ::-1].copy(), {"close": close}, atol=1e-5)
    assert (record.argmax_agreement, record.decisions, record.ties) == (None, 0, 1)


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


def test_a_decision_is_a_tie_where_either_of_the_two_may_be_off_by_so_much():
    near = np.array([[0.0, 0.5, 0.3]])
    for allowed, (decisions, ties) in (([0, 0.3, 0], (0, 1)), ([0, 0, 0.3], (0, 1)), ([0.3, 0.1, 0.1], (1, 0))):
        record = compare(np.copy, np.copy, {"near": near}, atol=0.0, floor={"": np.array(allowed)})
        assert (record.decisions, record.ties) == (decisions, ties)


def test_outputs_of_other_names_fail(inputs):
    for other in ({"y": 1.0}, {"x": 1.0, "y": 1.0, "z": 1.0}, {"x": 1.0, "z": 1.0}):
        with pytest.raises(ParityError, match=r"to give \['x', 'y'\]. Received: \["):
            compare(
                lambda x: {"x": x, "y": x}, lambda x, other=other: dict.fromkeys(other, x), inputs, atol=0.0,
                decision=None,
            )  # fmt: skip


def test_values_of_one_axis_are_one_channel():
    # The examples of one batch are no channels, whatever their number.
    values = {"batch 2": np.array([0.0, 1.0]), "batch of two more": np.array([0.1, 640.0])}
    record = compare(np.copy, lambda x: x + 0.01, values, atol=0.0, rtol=1e-4, decision=None)
    assert record.share == pytest.approx(0.01 / 0.064, rel=1e-3)


def test_a_share_of_the_decisions_may_be_enough():
    def one_other(x):
        return x + np.where(np.arange(10)[:, None] == 3, [-0.011, 0.011], [0.0, 0.0])

    inputs = {"near": np.tile([[0.51, 0.49]], (10, 1))}
    record = compare(np.copy, one_other, inputs, atol=0.015, agreement=0.9)
    assert (record.argmax_agreement, record.decisions, record.agreement) == (0.9, 10, 0.9)
    with pytest.raises(ParityError, match="decide alike in 95% of cases. Received: 1 of 10"):
        compare(np.copy, one_other, inputs, atol=0.015, agreement=0.95)


def test_the_root_mean_square_of_an_output_on_one_input_may_be_limited():
    inputs = {"many": np.zeros((9, 4)), "few": np.zeros((1, 4))}
    wrong = {"many": {"x": np.ones((9, 1)), "y": np.zeros((9, 4)), "z": np.zeros((9, 2))}}
    wrong["few"] = {"x": np.zeros((1, 1)), "y": np.array([[0.2, 0.0, 0.0, 0.0]]), "z": np.zeros((0, 2))}
    right = {name: {key: np.zeros_like(y) for key, y in batch.items()} for name, batch in wrong.items()}
    record = compare(right, wrong, inputs, atol=1.0, decision=None, rms={"y": 0.11})
    assert record.rms_diff == pytest.approx({"x": 1.0, "y": 0.1, "z": 0.0}) and record.rms == {"y": 0.11}
    with pytest.raises(ParityError, match="difference of .* on few, output y to be at most 0.09. Received: 0.1$"):
        compare(right, wrong, inputs, atol=1.0, decision=None, rms={"y": 0.09})


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
