using System.Collections.Immutable;
using System.Globalization;
using System.Text.Json;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>What a model of commits has to know of an image.</summary>
/// <param name="Path">Its path.</param>
/// <param name="Sectors">Its size.</param>
/// <param name="Has">For each sector, whether the image decides what is there, as QEMU says.</param>
/// <param name="Bitmaps">Its bitmaps.</param>
internal sealed record CommitLayer(string Path, int Sectors, bool[] Has, ImmutableSortedDictionary<string, CommitBitmap> Bitmaps)
{
    private const int SectorBytes = 512;

    public static async Task<CommitLayer> ReadAsync(string path)
    {
        ImmutableSortedDictionary<string, CommitBitmap> bitmaps = await ReadBitmapsAsync(path);
        using var map = JsonDocument.Parse(await Qemu.ImgOkAsync("map", "--output=json", QemuBitmaps.WithoutBacking(path)));
        var extents = map.RootElement.EnumerateArray().Select(static e =>
            (Start: e.GetProperty("start")
                .GetInt64(), Length: e
                .GetProperty("length")
                .GetInt64(), IsPresent: e
                .GetProperty("present")
                .GetBoolean())).ToList();
        var has = new bool[extents.Sum(static e => e.Length) / SectorBytes];
        foreach ((long start, long length, bool isPresent) in extents)
        {
            has.AsSpan((int)(start / SectorBytes), (int)(length / SectorBytes)).Fill(isPresent);
        }

        return new CommitLayer(path, has.Length, has, bitmaps);
    }

    public static async Task<ImmutableSortedDictionary<string, CommitBitmap>> ReadBitmapsAsync(string path)
    {
        CancellationToken token = TestContext.Current.CancellationToken;
        // What is stored of an inconsistent one counts too.
        var options = new Qcow2OpenOptions { Strictness = Strictness.Lenient };
        await using Qcow2Image image = await Qcow2Image.OpenAsync(path, options: options, cancellationToken: token);
        var bitmaps = ImmutableSortedDictionary.CreateBuilder<string, CommitBitmap>(StringComparer.Ordinal);
        foreach (BitmapInfo info in image.Bitmaps)
        {
            DirtyBitmap bits = await image.Bitmaps.LoadAsync(info.Name, cancellationToken: token);
            bool[] sectors = [.. Enumerable.Range(0, (int)(image.VirtualSizeBytes / SectorBytes))
                .Select(sector => bits.IsDirty((long)sector * SectorBytes))];
            bitmaps.Add(info.Name, new CommitBitmap(info.State, info.GranularityBytes, sectors));
        }

        return bitmaps.ToImmutable();
    }

    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture,
        $"{System.IO.Path.GetFileName(Path)} of {Sectors} sectors, has {CommitBitmap.Show(Has)}\n"
        + $"{string.Concat(Bitmaps.Select(static pair => $"    {pair.Key} {pair.Value}\n"))}");
}
