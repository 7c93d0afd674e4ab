"""Every column, feature, signature and artefact name of the product, once.

Files, SavedModel signatures, the index and the output tables all take their names from here.
"""

from typing import Final

# Interactions (input) and the prepared tables.
USER_ID: Final = "user_id"
ITEM_ID: Final = "item_id"
TIMESTAMP: Final = "timestamp"
WEIGHT: Final = "weight"
EVENT: Final = "event"
KINDS: Final = "kinds"
SPLIT: Final = "split"
TRAIN: Final = "train"
VAL: Final = "val"
TEST: Final = "test"
SPLITS: Final = (TRAIN, VAL, TEST)
USER_ROW: Final = "user_row"
ITEM_ROW: Final = "item_row"
ID_VECTOR: Final = "id_vector"

# Catalogue.
VIEW_COUNT: Final = "view_count"
PUBLISH_TIME: Final = "publish_time"
TRAIN_CLICKS: Final = "train_clicks"
TRAIN_WEIGHT: Final = "train_weight"
IS_COLD: Final = "is_cold"
IS_STRICTLY_COLD: Final = "is_strictly_cold"
IS_PSEUDO_COLD: Final = "is_pseudo_cold"
# How people see an item: reports show them, and no model looks at them.
TITLE: Final = "title"
IMAGE: Final = "image"
URL: Final = "url"
DISPLAYED: Final = (TITLE, IMAGE, URL)
# A column of the synthetic world that a release may keep.
AUTHOR: Final = "author"

# Features of the towers: rows and scaled content, as prepared, not as served.
CLUSTER_IDS: Final = "cluster_ids"
POPULARITY_BIN: Final = "popularity_bin"
TRAINING_BIN: Final = "training_bin"
TRAINING_VIEWS: Final = "training_views"
SLOTS: Final = "slots"

# A user of a batch job, and its output.
HISTORY: Final = "history"
EXCLUSIONS: Final = "exclusions"
RANK: Final = "rank"
SCORE: Final = "score"
MODEL_VERSION: Final = "model_version"
SIMILAR_ITEM_ID: Final = "similar_item_id"
COSINE: Final = "cosine"
PART_PREFIX: Final = "part_"

# Signatures of the released towers.
SERVING_DEFAULT: Final = "serving_default"
WITH_CONTENT: Final = "with_content"
EXPLAIN: Final = "explain"
HISTORY_PREFIX: Final = "history_"
ITEM_VECTOR: Final = "item_vector"
USER_VECTOR: Final = "user_vector"
INTENSITIES: Final = "intensities"
GATE: Final = "gate"
ATTENTION_PREFIX: Final = "attention_"

# Artefacts of a release.
USER_TOWER: Final = "user_tower"
ITEM_TOWER: Final = "item_tower"
INDEX: Final = "index"
MANIFEST: Final = "manifest.json"
DIGESTS: Final = "digests.json"

# The journal of a version: what came and went since it was published.
REMOVED: Final = "removed"
REFRESHED: Final = "refreshed"
HAS_CONTENT: Final = "has_content"
KEPT_PREFIX: Final = "column:"

INPUT_COLUMNS: Final = (USER_ID, ITEM_ID, TIMESTAMP, WEIGHT, SPLIT, VIEW_COUNT, PUBLISH_TIME, *DISPLAYED)
CATALOGUE_COLUMNS: Final = frozenset({ITEM_ID, VIEW_COUNT, PUBLISH_TIME})
RESERVED_MODALITIES: Final = frozenset(
    {
        "id",
        "popularity",
        "self",
        "inputs",
        USER_ID,
        ITEM_ID,
        USER_ROW,
        ITEM_ROW,
        ID_VECTOR,
        VIEW_COUNT,
        PUBLISH_TIME,
        TRAIN_CLICKS,
        HISTORY,
        SLOTS,
        CLUSTER_IDS,
    }
    | {POPULARITY_BIN, ITEM_VECTOR, USER_VECTOR, REMOVED, REFRESHED, HAS_CONTENT}
)
"""Words that cannot name a modality: they name something else beside it."""


def kept_column(name: str) -> str:
    """The column of the journal that holds a kept column of the catalogue; no modality can have such a name."""
    return KEPT_PREFIX + name


def part_column(modality: str) -> str:
    """The output column that holds a modality's share of a score."""
    return PART_PREFIX + modality


def attention_output(part: str) -> str:
    """The output of `explain` that holds the attention of one part: "id" or a modality."""
    return ATTENTION_PREFIX + part


def history_feature(modality: str) -> str:
    """The `with_content` input that holds a modality's vectors of the history."""
    return HISTORY_PREFIX + modality
