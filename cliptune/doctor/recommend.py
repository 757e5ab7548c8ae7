"""From what was found to a config: each key with its value and the reason. A pure function; what it rests on is in the two advice files."""

from cliptune.doctor.data_advice import data_advice
from cliptune.doctor.facts import Facts
from cliptune.doctor.findings import Findings
from cliptune.doctor.model_advice import batch_size, learning_rate, method, objective
from cliptune.doctor.settings import Recommendation, Values, class_of
from cliptune.doctor.zero_shot import ZeroShot


def recommend(findings: Findings, zero: ZeroShot, config: Values) -> list[Recommendation]:
    """Recommend, what is right already included: `changes` tells it apart.

    Args:
        findings: of the scan.
        zero: what the untouched backbone says.
        config: as `fit` resolves it; keys that it does not have are not recommended.
    """
    facts = Facts(findings, zero, config)
    how = method(facts)
    what = objective(facts, class_of(how.value))
    return [
        how,
        what,
        batch_size(facts, class_of(what.value)),
        learning_rate(facts, class_of(how.value)),
        *data_advice(facts, class_of(how.value)),
    ]
