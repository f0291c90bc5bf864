"""What is measured. Each workload is a program of workloads/, and has the same step in peers_torch.py and peers_jax.py."""
import dataclasses


@dataclasses.dataclass
class Workload:
    name: str
    title: str
    program: str = ""
    settings: dict = dataclasses.field(default_factory=dict)
    tiny: dict = dataclasses.field(default_factory=dict)  # settings with which it takes no time, to see that it works
    checked_by: tuple = ()  # workloads whose agreement stands for this one's, which draws at random
    size: int = 32  # of augmented pictures

    def __post_init__(self):
        self.program = self.program or self.name


LARGE = {"views": 64, "side": 256, "size": 224}
WORKLOADS = [
    Workload("a", "seed recipe, augmented", tiny={"batch": 8}, checked_by=("b", "g32")),
    Workload("b", "seed recipe, given views", tiny={"batch": 8}),
    Workload("c", "ResNet-18, 2 views of 64", tiny={"batch": 4, "width": 4}),
    Workload("d", "MAE, ViT 6x192", tiny={"batch": 4, "dim": 24, "depth": 1}),
    Workload("e", "GPT 4x256", tiny={"batch": 2, "dim": 32, "layers": 1}),
    Workload("f", "dense autoencoder", tiny={"batch": 4}),
    Workload("g32", "512 views of 32x32", "g", tiny={"views": 8}),
    Workload("g224", "64 views of 224x224", "g", LARGE, LARGE | {"views": 2}, size=224),
    Workload("h", "kNN 10,000 in 50,000", tiny={"train": 64, "test": 32, "dim": 16}),
]
KNN_FLOPS = 2 * 10000 * 50000 * 512
STEPS = 4  # whose losses are compared
TOLERANCE = {"f32": 2e-4, "bf16": 1e-2}  # relative, of losses
VIEWS = 4096  # whose distributions are compared
VIEWS_TOLERANCE = 5  # standard errors
KNN_TOLERANCE = 0.002  # neighbours that are equally near may come in another order
