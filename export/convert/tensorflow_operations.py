"""Lists TensorFlow's operations that only compute: they take and give tensors, variables and tables of the model.

Other operations read, write or map files, use a network, call Python, print, keep queues and data sets, decode formats,
or end the process. Operations of later versions of TensorFlow are not on the list.
"""

COMPUTING = frozenset(
    name
    for line in """
    # mathematics
    Abs AccumulateNV2 Acos Acosh Add AddN AddV2 All Angle Any ApproximateEqual ArgMax ArgMin Asin Asinh Atan Atan2
    Atanh BandedTriangularSolve BatchMatMul BatchMatMulV2 BatchMatMulV3 BesselI0 BesselI0e BesselI1 BesselI1e
    BesselJ0 BesselJ1 BesselK0 BesselK0e BesselK1 BesselK1e BesselY0 BesselY1 Betainc Bincount BitwiseAnd BitwiseOr
    BitwiseXor Bucketize Cast Ceil Cholesky ClipByValue Complex ComplexAbs Conj Cos Cosh Cross Cumprod Cumsum
    CumulativeLogsumexp Dawsn DenseBincount DenseCountSparseOutput DenseToDenseSetOperation
    DenseToSparseSetOperation Digamma Div DivNoNan Eig Einsum Equal Erf Erfc Erfinv EuclideanNorm Exp Expint Expm1
    FFT FFT2D FFT3D FFTND Floor FloorDiv FloorMod FresnelCos FresnelSin Greater GreaterEqual HistogramFixedWidth
    IFFT IFFT2D IFFT3D IFFTND IRFFT IRFFT2D IRFFT3D IRFFTND Igamma Igammac Imag Inv Invert IsFinite IsInf IsNan
    LeftShift Less LessEqual Lgamma LinSpace Log Log1p LogMatrixDeterminant LogicalAnd LogicalNot LogicalOr Lu
    MatMul MatrixDeterminant MatrixExponential MatrixInverse MatrixLogarithm MatrixSolve MatrixSolveLs
    MatrixSquareRoot MatrixTriangularSolve Max Maximum Mean Min Minimum Mod Mul MulNoNan Ndtri Neg NextAfter
    NotEqual Polygamma PopulationCount Pow Prod Qr RFFT RFFT2D RFFT3D RFFTND RaggedBincount RaggedCountSparseOutput
    Range Real RealDiv Reciprocal RightShift Rint Round Rsqrt SegmentMax SegmentMaxV2 SegmentMean SegmentMin
    SegmentMinV2 SegmentProd SegmentProdV2 SegmentSum SegmentSumV2 Select SelectV2 SelfAdjointEig SelfAdjointEigV2
    SetSize Sigmoid Sign Sin Sinh SobolSample SparseBincount SparseCountSparseOutput SparseMatMul SparseSegmentMean
    SparseSegmentMeanWithNumSegments SparseSegmentSqrtN SparseSegmentSqrtNWithNumSegments SparseSegmentSum
    SparseSegmentSumWithNumSegments SparseToSparseSetOperation Spence Sqrt Square SquaredDifference Sub Sum Svd Tan
    Tanh TridiagonalMatMul TridiagonalSolve TruncateDiv TruncateMod UnsortedSegmentMax UnsortedSegmentMin
    UnsortedSegmentProd UnsortedSegmentSum Xdivy Xlog1py Xlogy Zeta
    # arrays
    BatchToSpace BatchToSpaceND Bitcast BroadcastArgs BroadcastTo CheckNumerics CheckNumericsV2 Concat ConcatV2
    ConjugateTranspose Const DepthToSpace Dequantize Diag DiagPart DynamicPartition DynamicStitch EditDistance
    EnsureShape ExpandDims ExtractImagePatches ExtractVolumePatches FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars
    FakeQuantWithMinMaxVarsPerChannel Fill Fingerprint Gather GatherNd GatherV2 GuaranteeConst Identity IdentityN
    InplaceAdd InplaceSub InplaceUpdate InvertPermutation ListDiff LowerBound MatrixBandPart MatrixDiag
    MatrixDiagPart MatrixDiagPartV2 MatrixDiagPartV3 MatrixDiagV2 MatrixDiagV3 MatrixSetDiag MatrixSetDiagV2
    MatrixSetDiagV3 MirrorPad OneHot OnesLike Pack Pad PadV2 ParallelConcat ParallelDynamicStitch Placeholder
    PlaceholderV2 PlaceholderWithDefault PreventGradient RaggedCross RaggedFillEmptyRows RaggedGather RaggedRange
    RaggedTensorFromVariant RaggedTensorToSparse RaggedTensorToTensor RaggedTensorToVariant Rank Reshape Reverse
    ReverseSequence ReverseV2 Roll ScatterNd ScatterNdNonAliasingAdd Shape ShapeN Size Slice Snapshot SpaceToBatch
    SpaceToBatchND SpaceToDepth Split SplitV Squeeze StopGradient StridedSlice StridedSliceAssign TensorScatterAdd
    TensorScatterMax TensorScatterMin TensorScatterSub TensorScatterUpdate TensorStridedSliceUpdate Tile Transpose
    Unique UniqueV2 UniqueWithCounts UniqueWithCountsV2 Unpack UnravelIndex UpperBound Where XlaDynamicSlice
    XlaDynamicUpdateSlice ZerosLike
    # networks
    ApproxTopK AvgPool AvgPool3D BatchNormWithGlobalNormalization BiasAdd BiasAddV1 BlockLSTM BlockLSTMV2
    CTCBeamSearchDecoder CTCGreedyDecoder CTCLoss CTCLossV2 Conv Conv2D Conv2DBackpropInput Conv2DBackpropInputV2
    Conv3D Conv3DBackpropInput Conv3DBackpropInputV2 DataFormatDimMap DataFormatVecPermute DepthwiseConv2dNative
    DepthwiseConv2dNativeBackpropInput Dilation2D Dilation2DBackpropInput Elu FractionalAvgPool FractionalMaxPool
    FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 FusedPadConv2D FusedResizeAndPadConv2D GRUBlockCell InTopK
    InTopKV2 IsotonicRegression L2Loss LRN LSTMBlockCell LeakyRelu LogSoftmax MaxPool MaxPool3D MaxPoolV2
    MaxPoolWithArgmax NthElement QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeAndDequantizeV4 Relu Relu6
    Selu Softmax SoftmaxCrossEntropyWithLogits Softplus Softsign SparseSoftmaxCrossEntropyWithLogits TopK TopKV2
    # gradients
    AvgPool3DGrad AvgPoolGrad BiasAddGrad BroadcastGradientArgs CholeskyGrad Conv2DBackpropFilter
    Conv2DBackpropFilterV2 Conv3DBackpropFilter Conv3DBackpropFilterV2 CropAndResizeGradBoxes CropAndResizeGradImage
    DepthwiseConv2dNativeBackpropFilter Dilation2DBackpropFilter EluGrad FractionalAvgPoolGrad FractionalMaxPoolGrad
    FusedBatchNormGrad FusedBatchNormGradV2 FusedBatchNormGradV3 IgammaGradA InvGrad LRNGrad LeakyReluGrad
    MaxPool3DGrad MaxPool3DGradGrad MaxPoolGrad MaxPoolGradGrad MaxPoolGradGradV2 MaxPoolGradGradWithArgmax
    MaxPoolGradV2 MaxPoolGradWithArgmax MirrorPadGrad ReciprocalGrad Relu6Grad ReluGrad ResizeBicubicGrad
    ResizeBilinearGrad ResizeNearestNeighborGrad RsqrtGrad ScaleAndTranslateGrad SeluGrad SigmoidGrad SoftplusGrad
    SoftsignGrad SparseSegmentMeanGrad SparseSegmentMeanGradV2 SparseSegmentSqrtNGrad SparseSegmentSqrtNGradV2
    SparseSegmentSumGrad SparseSegmentSumGradV2 SqrtGrad StridedSliceGrad TanhGrad TileGrad
    # images and sound
    AdjustContrast AdjustContrastv2 AdjustHue AdjustSaturation AudioSpectrogram CombinedNonMaxSuppression
    CropAndResize DrawBoundingBoxes DrawBoundingBoxesV2 ExtractGlimpse ExtractGlimpseV2 GenerateBoundingBoxProposals
    HSVToRGB ImageProjectiveTransformV2 ImageProjectiveTransformV3 Mfcc NonMaxSuppression NonMaxSuppressionV2
    NonMaxSuppressionV3 NonMaxSuppressionV4 NonMaxSuppressionV5 NonMaxSuppressionWithOverlaps RGBToHSV ResizeArea
    ResizeBicubic ResizeBilinear ResizeNearestNeighbor ScaleAndTranslate StatelessSampleDistortedBoundingBox
    # sparse tensors
    SparseAdd SparseConcat SparseCross SparseCrossHashed SparseCrossV2 SparseDenseCwiseAdd SparseDenseCwiseDiv
    SparseDenseCwiseMul SparseFillEmptyRows SparseReduceMax SparseReduceMaxSparse SparseReduceSum
    SparseReduceSumSparse SparseReorder SparseReshape SparseSlice SparseSoftmax SparseSparseMaximum
    SparseSparseMinimum SparseSplit SparseTensorDenseAdd SparseTensorDenseMatMul SparseToDense
    # text
    AsString ReduceJoin RegexFullMatch RegexReplace StaticRegexFullMatch StaticRegexReplace StringFormat StringJoin
    StringLength StringLower StringNGrams StringSplit StringSplitV2 StringStrip StringToHashBucket
    StringToHashBucketFast StringToHashBucketStrong StringToNumber StringUpper Substr UnicodeScript UnicodeTranscode
    UnsortedSegmentJoin
    # lists
    EmptyTensorList EmptyTensorMap OptionalFromValue OptionalGetValue OptionalHasValue OptionalNone TensorListConcat
    TensorListConcatLists TensorListConcatV2 TensorListElementShape TensorListFromTensor TensorListGather
    TensorListGetItem TensorListLength TensorListPopBack TensorListPushBack TensorListPushBackBatch
    TensorListReserve TensorListResize TensorListScatter TensorListScatterIntoExistingList TensorListScatterV2
    TensorListSetItem TensorListSplit TensorListStack TensorMapErase TensorMapHasKey TensorMapInsert TensorMapLookup
    TensorMapSize TensorMapStackKeys
    # chance
    Multinomial RandomGamma RandomIndexShuffle RandomPoissonV2 RandomShuffle RandomStandardNormal RandomUniform
    RandomUniformInt StatelessMultinomial StatelessParameterizedTruncatedNormal StatelessRandomBinomial
    StatelessRandomGammaV2 StatelessRandomGammaV3 StatelessRandomGetAlg StatelessRandomGetKeyCounter
    StatelessRandomGetKeyCounterAlg StatelessRandomNormal StatelessRandomNormalV2 StatelessRandomPoisson
    StatelessRandomUniform StatelessRandomUniformFullInt StatelessRandomUniformFullIntV2 StatelessRandomUniformInt
    StatelessRandomUniformIntV2 StatelessRandomUniformV2 StatelessShuffle StatelessTruncatedNormal
    StatelessTruncatedNormalV2 TruncatedNormal
    # control
    Assert Case ControlTrigger Enter Exit For If LoopCond Merge NextIteration NoOp PartitionedCall
    StatefulPartitionedCall StatelessCase StatelessIf StatelessWhile Switch ToBool While
    # variables and tables
    AssignAddVariableOp AssignSubVariableOp AssignVariableOp DestroyResourceOp HashTableV2 LookupTableExportV2
    LookupTableFindV2 LookupTableImportV2 LookupTableInsertV2 LookupTableRemoveV2 LookupTableSizeV2
    MutableHashTableV2 ReadVariableOp ResourceGather ResourceGatherNd VarHandleOp VarIsInitializedOp VariableShape
    """.splitlines()
    if not line.lstrip().startswith("#")
    for name in line.split()
)
# These functions write and read a checkpoint; loading a SavedModel does not call them.
STORING = COMPUTING | {"DisableCopyOnRead", "MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename"}
