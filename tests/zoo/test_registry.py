"""Networks by name."""

import keras
import pytest

import zoo


def test_list_models_by_pattern():
    assert zoo.list_models("*_mlp") == ["dense_mlp", "highway_mlp", "plain_mlp", "residual_mlp"]
    assert "resnet20" in zoo.list_models()
    assert zoo.list_models("nothing*") == []


def test_describe_counts_the_parameters():
    card = zoo.describe("resnet20")
    assert (card.parameters, card.non_trainable, card.depth) == (269_722, 1_376, 20)
    assert "1512.03385" in card.paper
    assert "8.75" in card.paper_error
    assert card.arguments["shortcut"] == "pad"


@pytest.mark.parametrize("call", [zoo.build, zoo.describe, zoo.load])
def test_wrong_name_suggests_the_nearest(call):
    with pytest.raises(ValueError, match=r"Received: 'resnet2O'\. Did you mean .*\bresnet20\b.*\?"):
        call("resnet2O")


def test_wrong_argument_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"Received: 'shortcuts'\. Did you mean shortcut\?"):
        zoo.build("resnet20", shortcuts="pad")


def test_public_names_load_on_first_use():
    assert set(dir(zoo)) == set(zoo.__all__)
    assert all(getattr(zoo, name) is not None for name in zoo.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        zoo.nothing  # noqa: B018


def test_built_networks_are_not_compiled():
    model = zoo.build("plain_mlp")
    assert isinstance(model, keras.Model)
    assert not model.compiled
