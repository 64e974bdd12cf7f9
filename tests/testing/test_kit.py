"""The kit finds what it is there to find: each broken promise, in a type made to break it."""

import numpy as np
import pytest

from nethical import testing
from nethical.data.roles import Role
from nethical.errors import TrainingError, UsageError
from nethical.models import catalog
from nethical.models.base import Fitting, Parameter, Parts, Traits
from nethical.models.reasons import ranked_reasons
from nethical.testing import BrokenPromiseError, check_model, model_checks


class Sound:
    """A small type that keeps every promise: the mean of standard scores."""

    model_type = "sound"

    def __init__(self, terms=()):
        self.terms = [tuple(term) for term in terms]
        self.fitting = Fitting(None)

    def fit(self, table, *, rng, progress):  # noqa: ARG002 - the protocol's arguments
        self.terms = []
        for column in (c.name for c in table.features if c.feature == Role.NUMERIC):
            x = table.numeric(column)
            known = x[~np.isnan(x)]
            if len(known) > 1 and np.ptp(known) > 0:
                self.terms.append((column, float(known.mean()), float(known.std())))
        if not self.terms:
            raise TrainingError("no numbers to learn from", mend="add a numeric column")
        progress("fit sound", 1, 1)
        self.fitting = Fitting(1.0, ("a note",), {"columns": len(self.terms)})
        return self

    def shares(self, table):
        found = {c: np.clip((table.numeric(c) - m) / s, -9, 9) for c, m, s in self.terms}
        return {column: np.nan_to_num(share) for column, share in found.items()}

    def score(self, table):
        return sum(self.shares(table).values(), np.zeros(len(table)))

    def row_scorer(self):
        return None

    def explain(self, table, top):
        return ranked_reasons(table, self.shares(table), top)

    def to_parts(self):
        return Parts({"terms": [list(term) for term in self.terms]})

    @classmethod
    def from_parts(cls, parts):
        return cls(parts.document["terms"])


@pytest.fixture
def built(monkeypatch):
    """Return a function that makes a class known as a model type."""
    builder = catalog._builder

    def make_known(kind):
        build = getattr(kind, "build", lambda _: kind())
        monkeypatch.setattr(
            catalog,
            "_builder",
            lambda name: build if name == kind.model_type else builder(name),
        )
        return kind.model_type

    return make_known


def test_a_sound_type_passes_every_check(built):
    name = built(Sound)
    check_model(name)
    assert len(model_checks(name)) >= 25
    assert len({check.name for check in model_checks(name)}) == len(model_checks(name))


class Tuned(Sound):
    """A sound type whose standard scores are cut off where a parameter says."""

    traits = Traits(space=(Parameter("limit", 9.0, 0.1, 9.0, is_log=True),))

    def __init__(self, terms=(), limit=9.0):
        super().__init__(terms)
        self.limit = limit

    @classmethod
    def build(cls, settings):
        return cls(limit=settings.parameters.get("limit", 9.0))

    def shares(self, table):
        shares = super().shares(table).items()
        return {column: np.clip(share, -self.limit, self.limit) for column, share in shares}

    def to_parts(self):
        return Parts({**super().to_parts().document, "limit": self.limit})

    @classmethod
    def from_parts(cls, parts):
        return cls(parts.document["terms"], parts.document["limit"])


def test_a_sound_type_with_a_parameter_passes_every_check(built):
    check_model(built(Tuned))


def test_an_unknown_type_is_a_usage_error():
    with pytest.raises(UsageError, match="no model type 'nobody'"):
        check_model("nobody")


class WrongName(Sound):
    def __init__(self, terms=()):
        super().__init__(terms)
        self.model_type = "another"


class Batch(Sound):
    def score(self, table):
        scores = super().score(table)
        return scores - scores.mean() if len(scores) else scores


class Order(Sound):
    def score(self, table):
        return super().score(table) + 1e-9 * np.arange(len(table))


class Constant(Sound):
    def score(self, table):
        return np.zeros(len(table))


class Narrow(Sound):
    def score(self, table):
        return super().score(table).astype(np.float32)


class Missing(Sound):
    def shares(self, table):
        return {c: np.clip((table.numeric(c) - m) / s, -9, 9) for c, m, s in self.terms}


class Extreme(Sound):
    def shares(self, table):
        with np.errstate(all="ignore"):
            return {c: np.exp(np.nan_to_num(table.numeric(c) - m)) for c, m, _ in self.terms}


class Keeper(Sound):
    def fit(self, table, *, rng, progress):
        super().fit(table, rng=rng, progress=progress)
        self.rows = table.numeric(self.terms[0][0])
        return self

    def to_parts(self):
        return Parts(super().to_parts().document, {"rows": self.rows})

    @classmethod
    def from_parts(cls, parts):
        model = super().from_parts(parts)
        model.rows = parts.arrays["rows"]
        return model


class Words(Sound):
    def fit(self, table, *, rng, progress):
        super().fit(table, rng=rng, progress=progress)
        texts = [c.name for c in table.features if c.feature == Role.TEXT]
        self.words = sorted({str(t) for name in texts for t in table.texts(name)})
        return self

    def to_parts(self):
        return Parts({**super().to_parts().document, "words": self.words})

    @classmethod
    def from_parts(cls, parts):
        model = super().from_parts(parts)
        model.words = parts.document["words"]
        return model


class Forgetful(Sound):
    @classmethod
    def from_parts(cls, parts):
        return cls([(c, m, s + 1e-9) for c, m, s in parts.document["terms"]])


class Chance(Sound):
    def fit(self, table, *, rng, progress):
        super().fit(table, rng=rng, progress=progress)
        self.terms = [(c, m + np.random.random() * 1e-3, s) for c, m, s in self.terms]  # noqa: NPY002
        return self


class Sticky(Sound):
    def fit(self, table, *, rng, progress):
        earlier = self.terms
        super().fit(table, rng=rng, progress=progress)
        self.terms = [*earlier, *self.terms]
        return self


class Restless(Sound):
    def score(self, table):
        scores = super().score(table)
        self.terms = [(c, m + 1e-6, s) for c, m, s in self.terms]
        return scores


class Unexplained(Sound):
    def explain(self, table, top):
        return ranked_reasons(table, {c: 0.5 * s for c, s in self.shares(table).items()}, top)


class Stranger(Sound):
    def explain(self, table, top):
        return ranked_reasons(table, {"label": self.score(table)}, top)


class Objects(Sound):
    def to_parts(self):
        return Parts(super().to_parts().document, {"names": np.array(["a", "b"])})


class Overwriter(Sound):
    def to_parts(self):
        return Parts(super().to_parts().document, texts={"metrics.json": "{}"})


class Hasty(Sound):
    def row_scorer(self):
        return lambda row: float(len(row))


class Boastful(Sound):
    def fit(self, table, *, rng, progress):
        super().fit(table, rng=rng, progress=progress)
        progress("fit sound", 3, 2)
        return self


class Speechless(Sound):
    def fit(self, table, *, rng, progress):
        if not any(c.feature == Role.NUMERIC for c in table.features):
            raise TrainingError("", mend="")
        return super().fit(table, rng=rng, progress=progress)


class Peeking(Sound):
    def score(self, table):
        return super().score(table) + (getattr(table, "y", 0) if len(table) else 0)


class Choosy(Sound):
    def fit(self, *_, **__):
        raise TrainingError("nothing suits", mend="leave it")


class Odd(Sound):
    traits = "normals"


class Deaf(Tuned):
    @classmethod
    def build(cls, settings):  # noqa: ARG003 - that is what is wrong with it
        return cls()


class Lossy(Tuned):
    @classmethod
    def from_parts(cls, parts):
        return cls(parts.document["terms"])


class Deceptive(Tuned):
    @classmethod
    def build(cls, settings):
        return cls(limit=settings.parameters.get("limit", 1.0))


class Outside(Tuned):
    traits = Traits(space=(Parameter("limit", 10.0, 0.1, 9.0),))


class Twice(Tuned):
    traits = Traits(space=Tuned.traits.space * 2)


class Endless(Tuned):
    traits = Traits(space=(Parameter("limit", 9.0, 0.1),))


class Below(Tuned):
    traits = Traits(space=(Parameter("limit", 9.0, 0.0, 9.0, is_log=True),))


class Lenient(Parameter):
    def check(self, value):
        pass


class Permissive(Tuned):
    traits = Traits(space=(Lenient("limit", 9, 1, 9, is_whole=True),))

    @classmethod
    def build(cls, settings):  # noqa: ARG003 - nothing comes of it here
        return cls()


BROKEN = {
    WrongName: "has_every_member_of_the_protocol",
    Odd: "has_every_member_of_the_protocol",
    Choosy: "takes_some_kind_of_table",
    Speechless: "refuses_in_two_clear_lines",
    Boastful: "progress_never_exceeds_its_total",
    Batch: "a_row_alone_scores_as_among_others",
    Order: "the_order_of_rows_does_not_matter",
    Constant: "scores_tell_rows_apart",
    Narrow: "scores_are_finite_numbers",
    Missing: "missing_values_are_scored",
    Extreme: "unseen_and_extreme_values_are_scored",
    Peeking: "labels_are_not_read_in_scoring",
    Keeper: "no_row_is_kept",
    Words: "no_row_is_kept",
    Forgetful: "reloaded_scores_are_equal",
    Chance: "chance_comes_from_rng_alone",
    Sticky: "a_second_fit_forgets_the_first",
    Restless: "scoring_changes_nothing",
    Unexplained: "reasons_sum_to_the_score",
    Stranger: "reasons_name_features",
    Objects: "parts_are_plain_values",
    Overwriter: "parts_are_plain_values",
    Hasty: "one_row_in_plain_python_scores_the_same",
    Deaf: "every_parameter_has_an_effect",
    Lossy: "every_parameter_has_an_effect",
    Deceptive: "defaults_are_what_is_used_without_parameters",
    Outside: "parameters_have_names_and_ranges",
    Twice: "parameters_have_names_and_ranges",
    Endless: "parameters_have_names_and_ranges",
    Below: "parameters_have_names_and_ranges",
    Permissive: "unknown_and_odd_parameters_are_refused",
}


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_a_type_that_breaks_a_promise_is_found_by_the_check_of_that_promise(kind, built):
    name = built(kind)
    checks = {check.name: check for check in model_checks(name)}
    with pytest.raises(BrokenPromiseError) as caught:
        checks[BROKEN[kind]]()
    assert str(caught.value).startswith(f"{name}: {BROKEN[kind]}: ")


def test_a_kit_of_its_own_is_made_for_each_call():
    first, second = model_checks("heuristic")[0], model_checks("heuristic")[0]
    assert first.case is not second.case
    assert first.case.traits == catalog.traits("heuristic")
    assert testing.__all__ == sorted(testing.__all__)
