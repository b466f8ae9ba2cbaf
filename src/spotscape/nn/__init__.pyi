# Written by packaging/stubs.py from the sources; change those.
from spotscape._stats.components import PrincipalComponents as PrincipalComponents
from spotscape._stats.components import smooth as smooth
from spotscape.nn.batches import Batch as Batch
from spotscape.nn.batches import Reduce as Reduce
from spotscape.nn.blocks import SpotNorm as SpotNorm
from spotscape.nn.blocks import ema_update as ema_update
from spotscape.nn.clustering._consensus import consensus_clusterings as consensus_clusterings
from spotscape.nn.features import Features as Features
from spotscape.nn.graph import SpotGraph as SpotGraph
from spotscape.nn.graph import propagate as propagate
from spotscape.nn.hybrid import Neighborhoods as Neighborhoods
from spotscape.nn.hybrid import hybrid_neighborhoods as hybrid_neighborhoods
from spotscape.nn.imputation import SpotRegression as SpotRegression
from spotscape.nn.integration import integrate as integrate
from spotscape.nn.integration import place as place
from spotscape.nn.losses.consistency import consistency_loss as consistency_loss
from spotscape.nn.losses.contrast import contrast_loss as contrast_loss
from spotscape.nn.losses.cosine import cosine_reconstruction_loss as cosine_reconstruction_loss
from spotscape.nn.losses.cosine import l2_normalize as l2_normalize
from spotscape.nn.losses.masking import draw_masked as draw_masked
from spotscape.nn.losses.masking import draw_masking as draw_masking
from spotscape.nn.losses.masking import sample_negatives as sample_negatives
from spotscape.nn.losses.prototypes import PrototypeBank as PrototypeBank
from spotscape.nn.losses.prototypes import prototype_loss as prototype_loss
from spotscape.nn.losses.reconstruction import reconstruction_errors as reconstruction_errors
from spotscape.nn.losses.scaling import draw_meetings as draw_meetings
from spotscape.nn.losses.scaling import scaling_loss as scaling_loss
from spotscape.nn.losses.telescope import telescope_loss as telescope_loss
from spotscape.nn.matching import Matches as Matches
from spotscape.nn.matching import Votes as Votes
from spotscape.nn.matching import batch_offset as batch_offset
from spotscape.nn.matching import match as match
from spotscape.nn.matching import nearest as nearest
from spotscape.nn.matching import vote as vote
from spotscape.nn.pca import PCA as PCA
from spotscape.nn.similarity import MostSimilar as MostSimilar
from spotscape.nn.similarity import most_similar as most_similar
from spotscape.nn.tiles import graph_tiles as graph_tiles
from spotscape.nn.trainer import LossOutput as LossOutput
from spotscape.nn.trainer import Trainer as Trainer
from spotscape.nn.trainer import TrainingPlan as TrainingPlan

__all__ = [
    "Batch", "Features", "LossOutput", "Matches", "MostSimilar", "Neighborhoods", "PCA", "PrincipalComponents",
    "PrototypeBank", "Reduce", "SpotGraph", "SpotNorm", "SpotRegression", "Trainer", "TrainingPlan", "Votes",
    "batch_offset", "consensus_clusterings", "consistency_loss", "contrast_loss", "cosine_reconstruction_loss",
    "draw_masked", "draw_masking", "draw_meetings", "ema_update", "graph_tiles", "hybrid_neighborhoods", "integrate",
    "l2_normalize", "match", "most_similar", "nearest", "place", "propagate", "prototype_loss", "reconstruction_errors",
    "sample_negatives", "scaling_loss", "smooth", "telescope_loss", "vote",
]
