"""The decision in words: what to ship, how sure that is, what it costs, what to do next."""

from dataclasses import dataclass, field

from lantu.compare.analysis import Analysis
from lantu.compare.further_analysis import FurtherAnalysis
from lantu.compare.recommendation.cautions import cautions
from lantu.compare.recommendation.choice import choose
from lantu.compare.recommendation.cost_sentences import business_case, forecast, most_important, total_cost
from lantu.compare.recommendation.next_steps import next_steps
from lantu.compare.recommendation.score_sentences import differences, example_noise, quality, risk
from lantu.compare.recommendation.tiles import Tile, tiles


@dataclass(frozen=True)
class Decision:
    """What a person who must choose reads first."""

    ship: str | None
    """The configuration to ship; None: the runs do not decide it."""
    headline: str
    sentences: list[str] = field(default_factory=list)
    caution: list[str] = field(default_factory=list)
    """What the reader must not overlook."""
    tiles: list[Tile] = field(default_factory=list)


def decide(analysis: Analysis, further: FurtherAnalysis | None = None) -> Decision:
    """Put the analysis into words.

    Args:
        further: what takes longer to work out; None: the sentences about it are left out.
    """
    ship, headline = choose(analysis)
    sentences = [
        quality(analysis, ship or analysis.winner),
        *differences(analysis, ship),
        *risk(analysis, ship),
        *example_noise(analysis),
        *total_cost(analysis),
    ]
    if further is not None:
        sentences += [
            *most_important(analysis, further),
            *business_case(analysis, further),
            *forecast(analysis, further),
        ]
    return Decision(ship, headline, sentences, [*next_steps(analysis), *cautions(analysis)], tiles(analysis))
