namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>What is seen through an image of a chain.</summary>
/// <param name="Names">The images, top first.</param>
/// <param name="Disk">What the guest sees.</param>
/// <param name="Valid">The valid bitmaps, by sectors.</param>
/// <param name="Floors">For each name of a bitmap, what changed at least since it was made: what usable bitmaps recorded, and
/// what images have that did not record.</param>
/// <param name="Stored">The bitmaps of the top image.</param>
/// <param name="Faults">What a check says of the images; empty if they are clean but for leaks.</param>
internal sealed record ChainView(
    IReadOnlyList<string> Names, byte[] Disk, IReadOnlyDictionary<string, bool[]> Valid, IReadOnlyDictionary<string, bool[]> Floors,
    string Stored, string Faults)
{
    private const int SectorBytes = 512;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public string StoredWithoutBits => string.Join('\n', Stored.Split('\n').Select(static line => line[..(line.LastIndexOf(' ') + 1)]));

    public static async Task<ChainView> ReadAsync(CrashChain images, string top)
    {
        await using ImageChain chain = await images.OpenAsync(top);
        var disk = new byte[chain.SizeBytes];
        Assert.Equal(disk.Length, await chain.ReadAsync(0, disk, Token));
        var valid = new Dictionary<string, bool[]>(StringComparer.Ordinal);
        var floors = new Dictionary<string, bool[]>(StringComparer.Ordinal);
        foreach (BitmapVerdict verdict in await chain.JudgeBitmapsAsync(cancellationToken: Token))
        {
            floors.Add(verdict.Name, await FloorAsync(chain, verdict, disk.Length));
            if (verdict.IsValid)
            {
                var sectors = new bool[disk.Length / SectorBytes];
                await foreach (DirtyExtent extent in chain.ReadExtentsAsync(verdict.Name, cancellationToken: Token))
                {
                    Fill(sectors, extent.OffsetBytes, extent.EndBytes);
                }

                valid.Add(verdict.Name, sectors);
            }
        }

        string faults = "";
        foreach (ChainLayer layer in chain.Layers.Where(static layer => layer is Qcow2Layer))
        {
            CheckReport check = await layer.RequireImage().CheckAsync(Token);
            faults += check.Corruptions + check.CheckErrors > 0
                ? $"{layer}: {string.Join("; ", check.Findings.Take(3).Select(static finding => finding.Message))} "
                : "";
        }

        var stored = new List<string>();
        foreach (BitmapInfo bitmap in chain.Layers[0].Bitmaps)
        {
            string bits = bitmap.State == BitmapState.Inconsistent
                ? ""
                : Convert.ToHexString(
                    (await chain.Layers[0].RequireImage().Bitmaps.LoadAsync(bitmap.Name, cancellationToken: Token)).Sha256());
            stored.Add($"{bitmap.Name} {bitmap.State} {bitmap.GranularityBytes} {bits}");
        }

        return new ChainView(
            [.. chain.Layers.Select(static layer => layer.Path)], disk, valid, floors,
            string.Join('\n', stored.Order(StringComparer.Ordinal)), faults);
    }

    /// <summary>
    /// Asserts that the guest sees the same, that what was valid is valid and covers what it covered, and that
    /// what is valid by now covers all that changed.
    /// </summary>
    /// <param name="now">What is seen now.</param>
    /// <param name="context">Tells where this is.</param>
    /// <param name="stays">Whether a bitmap has to stay valid; all have to when null.</param>
    public void AssertKept(ChainView now, string context, Func<string, bool>? stays = null)
    {
        Assert.True(now.Faults.Length == 0, $"{context}: {now.Faults}");
        Assert.True(
            now.Disk.AsSpan().SequenceEqual(Disk),
            $"{context}: byte {now.Disk.AsSpan().CommonPrefixLength(Disk)} changed, {Disk.Length} bytes before, {now.Disk.Length} now");
        foreach (string name in Valid.Keys.Where(name => stays?.Invoke(name) != false))
        {
            Assert.True(now.Valid.ContainsKey(name), $"{context}: '{name}' is no longer valid");
        }

        foreach ((string name, bool[] covered) in now.Valid)
        {
            AssertCovers(name, covered, Valid.GetValueOrDefault(name), context);
            AssertCovers(name, covered, Floors.GetValueOrDefault(name), context);
        }
    }

    private static void AssertCovers(string name, bool[] covered, bool[]? dirty, string context)
    {
        int missed = dirty is null ? -1 : Enumerable.Range(0, dirty.Length).FirstOrDefault(sector => dirty[sector] && !covered[sector], -1);
        Assert.True(missed < 0, $"{context}: '{name}' is valid and misses sector {missed}");
    }

    private static async ValueTask<bool[]> FloorAsync(ImageChain chain, BitmapVerdict verdict, long sizeBytes)
    {
        var floor = new bool[sizeBytes / SectorBytes];
        long visible = sizeBytes;
        foreach (ChainLayer layer in chain.Layers.Take(verdict.ImageIndexes[^1] + 1))
        {
            visible = Math.Min(visible, layer.VirtualSizeBytes);
            Qcow2Image image = layer.RequireImage();
            if (image.Bitmaps.TryGet(verdict.Name, out BitmapInfo? bitmap) && bitmap.State == BitmapState.Recording)
            {
                foreach (DirtyExtent extent in (await image.Bitmaps.LoadAsync(verdict.Name, cancellationToken: Token)).Extents())
                {
                    Fill(floor, extent.OffsetBytes, Math.Min(extent.EndBytes, visible));
                }
            }
            else
            {
                await foreach (DiskExtent extent in chain.ListOwnAsync(layer.Index, Token))
                {
                    if (extent.Kind != ExtentKind.Unallocated)
                    {
                        Fill(floor, extent.OffsetBytes, Math.Min(extent.OffsetBytes + extent.LengthBytes, visible));
                    }
                }
            }
        }

        return floor;
    }

    private static void Fill(bool[] sectors, long startBytes, long endBytes)
    {
        if (endBytes > startBytes)
        {
            sectors.AsSpan((int)(startBytes / SectorBytes), (int)((endBytes - startBytes) / SectorBytes)).Fill(true);
        }
    }
}
