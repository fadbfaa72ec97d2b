namespace Qcow2Bitmaps.Operations;

/// <summary>What is committed, and where to.</summary>
internal sealed class CommitScope(ImageChain chain, int top, int target, MergeOptions options)
{
    public ImageChain Chain => chain;

    /// <summary>The index of the topmost committed image.</summary>
    public int Top => top;

    /// <summary>The index of the base, which takes all.</summary>
    public int Target => target;

    public MergeOptions Options => options;

    /// <summary>The images above the committed ones.</summary>
    public IEnumerable<ChainLayer> Above => chain.Layers.Take(top);

    /// <summary>The committed images, top first.</summary>
    public IEnumerable<ChainLayer> Committed => chain.Layers.Take(target).Skip(top);

    public ChainLayer TopLayer => chain.Layers[top];

    public ChainLayer Base => chain.Layers[target];

    public bool BaseHoldsBitmaps => HoldsBitmaps(Base);

    /// <summary>The base's size before anything is written.</summary>
    public long OldSizeBytes { get; } = chain.Layers[target].VirtualSizeBytes;

    /// <summary>The size that the base gets.</summary>
    public long NewSizeBytes => Math.Max(OldSizeBytes, TopLayer.VirtualSizeBytes);

    /// <summary>Where images above reach over shorter ones, and something committed is longer.</summary>
    public IEnumerable<(int Layer, long Start, long End)> OverhangsAbove =>
        Overhangs.Find(chain, top, Committed.Select(static layer => layer.VirtualSizeBytes).Max());

    /// <summary>
    /// Where the base holds no bitmaps: the nearest image above the committed ones that can, and so say that bits are lost. Null when there
    /// is none, and so no bitmap above.
    /// </summary>
    public ChainLayer? Teller => BaseHoldsBitmaps ? null : Above.LastOrDefault(HoldsBitmaps);

    /// <summary>
    /// The distinct bitmaps of the committed images of which images above hold bits too: without the committed ones,
    /// those would look complete.
    /// </summary>
    public IEnumerable<BitmapInfo> LostBitmaps => StoredBits.FindLost(Committed, [.. Above]);

    /// <summary>The images that the commit writes: the committed ones and the base, the one above, and now and then longer ones.</summary>
    public IReadOnlyList<int> WritableLayers
    {
        get
        {
            int first = Math.Max(0, top - 1);
            IEnumerable<int> above = OverhangsAbove.Select(static overhang => overhang.Layer);
            above = Teller is { } teller ? above.Append(teller.Index) : above;
            return [.. above.Where(layer => layer < first).Distinct(), .. Enumerable.Range(first, target - first + 1)];
        }
    }

    /// <summary>The base's name as the image above the committed ones is to store it. Only where there is such an image.</summary>
    /// <exception cref="IOException">No name leads to it, or the chosen one leads elsewhere.</exception>
    public string StoredName => Base.NameIn(chain.Layers[top - 1].Path, options.BackingFile);

    private static bool HoldsBitmaps(ChainLayer layer) => layer is Qcow2Layer { Image.Header.Version: >= 3 };
}
