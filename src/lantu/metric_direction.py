"""Whether less or more of a metric is better: one answer, wherever a metric is monitored, chosen by or sorted.

A direction is never guessed from parts of words (`certainty` contains `cer`, `power` contains `wer`). It is known from
the whole words of a name, which agree with torchmetrics' `higher_is_better` for each of its metrics (a test compares
them); a name that says neither needs `mode=min` or `mode=max`.
"""

import re

from lantu.errors import UserError
from lantu.slice_names import whole_metric

_LESS = """
    loss losses error errors err nll nlpd perplexity ppl logloss deviance divergence kl bits bpb bpc bpd
    mse rmse msle rmsle mae mase mape smape wmape nrmse rase ergas sam distance wasserstein hausdorff procrustes
    hinge pinball fz0 crps epsilon rank brier ece mce hamming levenshtein wer cer mer wil ter eed der eer mcd lost
    fid kid fvd lpips dists mifid drawdown regret disparity violations violation false fpr fnr fallout miss misses
    failures failed repetition usd kwh co2e kg hours minutes seconds ms latency memory parameters cost
"""
LESS = frozenset(_LESS.split())
"""Words of which less is better, where they stand alone in a metric's name."""
_MORE = """
    accuracy acc gini ks precision recall f1 fbeta auroc auc auprc aucpr ap map dcg ndcg mrr hit hits success
    r2 r2score kappa mcc matthews correlation pearson pearsons spearman kendall concordance ccc nse kge elbo likelihood
    jaccard iou miou giou diou ciou dice sensitivity specificity npv ppv tpr tnr tar true correct
    bleu sacrebleu rouge chrf meteor exact squad preserved psnr psnrb ssim uqi vif inception fidelity quality
    similarity snr sdr sisnr sisdr pesq stoi srmr dnsmos nisqa mos sharpe reward profit revenue silhouette
    calinski dunn rand fowlkes completeness homogeneity mutual cramers tschuprows theils throughput improvement
    reduction gain
"""
MORE = frozenset(_MORE.split())
"""Words of which more is better."""
PHRASES = {
    "(per_second|per_minute|per_hour)": "max",
    "signal(_to)?_(noise|distortion)(_ratio)?": "max",
    "(f_beta|v_measure|explained_variance|intersection_over_union|io_u|s_qu_ad|(bert|clip)_score)": "max",
    "(reciprocal_rank|average_precision|(positive|negative)_predictive)": "max",
    "(davies_bouldin|(spectral|spatial)_distortion|total_variation|edit_rate|spectral_angle|path_length)": "min",
    "(parity|odds|opportunity|accuracy|calibration|prediction|error|mae|rmse)_difference": "min",
    "parity_ratio": "max",
    "(cross_entropy|negative_log_likelihood|ranked_probability|fall_out|patch_similarity|texture_similarity)": "min",
}
"""Words that tell a direction only together, as regular expressions."""
SUFFIXES = ("_best", "_epoch", "_step")
MAIN_MEASURES = (
    *("map", "map_50", "accuracy", "f1", "auroc", "wer", "r2", "rmse", "mae", "perplexity", "bits_per_byte", "loss"),
)
"""Measures that a person looks for first, where a run has more than can be shown."""


def direction(metric: str, mode: str = "auto", *, option: str = "mode") -> str:
    """ "min" or "max": whether less or more of a metric is better.

    Args:
        metric: its name as logged, such as val/loss or val/answer_f1.
        mode: "min" or "max" settle it; "auto" goes by the name.
        option: what a person types to settle it, for the error.

    Raises:
        UserError: `mode` is none of min, max, auto; or it is auto and the name does not tell.
    """
    if mode in ("min", "max"):
        return mode
    if mode != "auto":
        raise UserError(
            f"`{option}={mode}`: choose `min` or `max` (what is better, less or more), or `auto` to go by its name."
        )
    found = known_direction(metric)
    if found is None:
        raise UserError(
            f"whether less or more of `{metric}` is better cannot be known from its name: add `{option}=min` or "
            f"`{option}=max`."
        )
    return found


def known_direction(metric: str) -> str | None:
    """The direction that a metric's name tells, or None.

    Where words of a name disagree, the last one decides: `max_drawdown` is a drawdown, `answer_f1` an F1, and
    `error_reduction` a reduction.
    """
    metric = whole_metric(metric)
    name = metric.rpartition("/")[2].lower()
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    if metric.startswith("cost/"):
        return "min"
    directions = [mode for phrase, mode in PHRASES.items() if re.search(rf"(^|_){phrase}(_|$)", name)]
    if directions:
        return directions[-1]
    modes = [mode for word in re.split(r"[^a-z0-9]+", name) if (mode := _of_word(word))]
    return modes[-1] if modes else None


def _of_word(word: str) -> str | None:
    for each in (word, word.rstrip("0123456789"), re.sub(r"^top\d+", "", word)):  # top5, map50, hits10
        if each in LESS:
            return "min"
        if each in MORE:
            return "max"
    return None
