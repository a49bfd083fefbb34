"""Robustness of classifiers: attacks, local Lipschitz constants, and accuracy under both."""

from milpcomp.robustness.attacks import Attack as Attack
from milpcomp.robustness.attacks import Attacked as Attacked
from milpcomp.robustness.attacks import attack as attack
from milpcomp.robustness.attacks import fgsm as fgsm
from milpcomp.robustness.attacks import pgd as pgd
from milpcomp.robustness.certified import CertifiedRobustness as CertifiedRobustness
from milpcomp.robustness.certified import Outcome as Outcome
from milpcomp.robustness.certified import Sandwich as Sandwich
from milpcomp.robustness.certified import certified_robustness as certified_robustness
from milpcomp.robustness.certified import sandwich as sandwich
from milpcomp.robustness.compare import Comparison as Comparison
from milpcomp.robustness.compare import compare as compare
from milpcomp.robustness.evaluate import Estimate as Estimate
from milpcomp.robustness.evaluate import Preset as Preset
from milpcomp.robustness.evaluate import Robustness as Robustness
from milpcomp.robustness.evaluate import evaluate as evaluate
from milpcomp.robustness.evaluate import preset as preset
from milpcomp.robustness.lipschitz import LipschitzSearch as LipschitzSearch
from milpcomp.robustness.lipschitz import local_lipschitz as local_lipschitz
from milpcomp.robustness.lipschitz_bound import local_lipschitz_bound as local_lipschitz_bound
from milpcomp.robustness.normalise import Normalised as Normalised
from milpcomp.robustness.normalise import normalised as normalised
