"""What every network counts, so that it can be said without building one; a test counts again in the built networks."""

from typing import NamedTuple


class Figures(NamedTuple):
    """Parameters, and the multiply-adds of one image of the registry's size."""

    parameters: int
    non_trainable: int
    multiply_adds: int


FIGURES = {
    "plain_mlp": Figures(46_410, 0, 45_696),
    "residual_mlp": Figures(46_410, 0, 45_696),
    "highway_mlp": Figures(129_610, 0, 127_616),
    "dense_mlp": Figures(237_130, 0, 236_416),
    "resnet20": Figures(269_722, 1_376, 40_551_040),
    "resnet32": Figures(464_154, 2_272, 68_862_592),
    "resnet44": Figures(658_586, 3_168, 97_174_144),
    "resnet56": Figures(853_018, 4_064, 125_485_696),
    "resnet110": Figures(1_727_962, 8_096, 252_887_680),
    "resnet1202": Figures(19_421_274, 89_632, 2_829_238_912),
    "plain20": Figures(269_722, 1_376, 40_551_040),
    "plain32": Figures(464_154, 2_272, 68_862_592),
    "plain44": Figures(658_586, 3_168, 97_174_144),
    "plain56": Figures(853_018, 4_064, 125_485_696),
    "stochastic_resnet32": Figures(464_154, 2_302, 68_862_592),
    "stochastic_resnet110": Figures(1_727_962, 8_204, 252_887_680),
    "stochastic_resnet1202": Figures(19_421_274, 90_832, 2_829_238_912),
    "preact_resnet20": Figures(269_722, 1_376, 40_551_040),
    "preact_resnet110": Figures(1_727_962, 8_096, 252_887_680),
    "preact_resnet164": Figures(1_703_258, 24_224, 247_646_720),
    "preact_resnet1001": Figures(10_327_706, 149_216, 1_490_995_712),
    "wrn_16_2": Figures(691_674, 1_824, 101_106_944),
    "wrn_16_4": Figures(2_748_890, 3_616, 392_612_352),
    "wrn_16_8": Figures(10_961_370, 7_200, 1_548_145_664),
    "wrn_40_4": Figures(8_949_210, 10_784, 1_298_582_016),
    "wrn_28_10": Figures(36_479_194, 17_952, 5_243_328_768),
    "densenet_40_12": Figures(1_019_722, 18_096, 264_812_928),
    "densenet_100_12": Figures(6_979_642, 117_216, 1_769_516_448),
    "densenet_bc_100_12": Figures(769_162, 23_988, 287_929_692),
    "densenet_bc_250_24": Figures(15_324_406, 257_976, 5_418_785_724),
    "densenet_bc_190_40": Figures(25_624_430, 256_960, 9_301_945_740),
    "highway11": Figures(236_328, 0, 32_139_716),
    "highway19": Figures(2_256_838, 0, 330_826_728),
    "highway32": Figures(1_255_270, 0, 314_491_880),
    "highway11_carry": Figures(333_320, 0, 46_295_492),
    "highway19_carry": Figures(3_320_150, 0, 489_489_384),
    "highway32_carry": Figures(1_857_910, 0, 468_435_944),
    "highway_mnist_16": Figures(38_986, 0, 8_028_576),
    "highway_mnist_32": Figures(151_690, 0, 31_650_624),
    "highway_mnist_16_carry": Figures(57_546, 0, 11_926_944),
    "highway_mnist_32_carry": Figures(225_674, 0, 47_244_096),
    "resnet18": Figures(11_689_512, 9_600, 1_814_073_344),
    "resnet34": Figures(21_797_672, 17_024, 3_663_761_408),
    "resnet50": Figures(25_557_032, 53_120, 4_089_184_256),
    "resnet101": Figures(44_549_160, 105_344, 7_801_405_440),
    "resnet152": Figures(60_192_808, 151_424, 11_513_626_624),
    "wide_resnet50_2": Figures(68_883_240, 68_224, 11_398_021_120),
    "resnet50_keras": Figures(25_583_592, 53_120, 3_857_973_248),
    "resnet101_keras": Figures(44_601_832, 105_344, 7_570_194_432),
    "resnet152_keras": Figures(60_268_520, 151_424, 11_282_415_616),
    "resnet50_v2": Figures(25_568_360, 45_440, 3_482_255_360),
    "resnet101_v2": Figures(44_577_896, 97_664, 7_194_476_544),
    "resnet152_v2": Figures(60_236_904, 143_744, 10_906_697_728),
    "densenet121": Figures(7_978_856, 83_648, 2_834_161_664),
    "densenet169": Figures(14_149_480, 158_400, 3_359_843_328),
    "densenet201": Figures(20_013_928, 229_056, 4_291_365_888),
}
