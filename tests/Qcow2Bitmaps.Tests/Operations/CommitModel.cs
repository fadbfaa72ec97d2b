using System.Collections.Immutable;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>What libvirt's rules make of bitmaps when images are committed, sector by sector.</summary>
/// <param name="Layers">The images, top first.</param>
/// <param name="Top">The topmost committed image.</param>
/// <param name="Base">The image that takes all.</param>
internal sealed record CommitModel(IReadOnlyList<CommitLayer> Layers, int Top, int Base)
{
    private CommitLayer Target => Layers[Base];

    /// <summary>The base's size afterwards, in sectors.</summary>
    public int TargetSectors => Math.Max(Layers[Top].Sectors, Target.Sectors);

    /// <summary>Whether the base cannot grow because of a bitmap that cannot.</summary>
    public bool IsRefused =>
        TargetSectors > Target.Sectors && Target.Bitmaps.Values.Any(static bitmap => bitmap.State == BitmapState.Inconsistent);

    /// <summary>The images that hold a valid bitmap of the committed top, top first; empty when it is not valid.</summary>
    public IReadOnlyList<int> RunOf(string name)
    {
        var run = new List<int>();
        bool hasEnded = false;
        for (int i = Top; i < Layers.Count; i++)
        {
            if (!Layers[i].Bitmaps.TryGetValue(name, out CommitBitmap? bitmap))
            {
                hasEnded = true;
            }
            else if (hasEnded || bitmap.State != BitmapState.Recording)
            {
                return [];
            }
            else
            {
                run.Add(i);
            }
        }

        return run;
    }

    /// <summary>The base's bitmaps afterwards.</summary>
    public ImmutableSortedDictionary<string, CommitBitmap> Expected()
    {
        (bool[] has, bool[] hides) = Committed();
        var expected = ImmutableSortedDictionary.CreateBuilder<string, CommitBitmap>(StringComparer.Ordinal);
        foreach (string name in Layers.SelectMany(static layer => layer.Bitmaps.Keys).Distinct())
        {
            IReadOnlyList<int> run = RunOf(name);
            bool isThere = Target.Bitmaps.TryGetValue(name, out CommitBitmap? own);
            if (run.Count > 0)
            {
                CommitBitmap start = own ?? Layers[Top].Bitmaps[name] with { Sectors = [] };
                expected.Add(
                    name,
                    start.With(
                        TargetSectors,
                        [.. run.Where(i => i < Base).Select(i => Layers[i].Bitmaps[name].Sectors), hides, own is null ? [] : Gained()]));
            }
            else if (isThere)
            {
                expected.Add(name, own!.State switch
                {
                    BitmapState.Recording => own.With(TargetSectors, [.. Records(name), has, hides, Gained()]),
                    // Not libvirt's either: populated later, it must know what was hidden.
                    BitmapState.Disabled => own.With(TargetSectors, hides),
                    _ when hides.Any(static hidden => hidden) => (own with { State = BitmapState.Disabled }).With(TargetSectors, hides),
                    _ => own,
                });
            }
            else if (Layers.Take(Top).Any(layer => layer.Bitmaps.ContainsKey(name))
                && Layers.Skip(Top).Take(Base - Top).FirstOrDefault(layer => layer.Bitmaps.ContainsKey(name)) is { } lost)
            {
                // Not libvirt's: what is lost must not make valid what is left.
                expected.Add(
                    name,
                    new CommitBitmap(BitmapState.Disabled, lost.Bitmaps[name].GranularityBytes, [])
                        .With(TargetSectors, [.. Records(name), has, hides]));
            }
        }

        return expected.ToImmutable();
    }

    /// <summary>What the committed images have of a bitmap that is not valid over them.</summary>
    public IEnumerable<bool[]> Records(string name) => Layers.Skip(Top).Take(Base - Top)
        .Select(layer => layer.Bitmaps.GetValueOrDefault(name))
        .OfType<CommitBitmap>()
        .Select(static bitmap => bitmap.Sectors);

    /// <summary>What the base gains: its bitmaps call that dirty, as after any other resize.</summary>
    private bool[] Gained() => [.. Enumerable.Range(0, TargetSectors).Select(sector => sector >= Target.Sectors)];

    public override string ToString() => $"commit {Top} into {Base} of\n  {string.Join("  ", Layers)}";

    /// <summary>What the committed images have, and what they hide of one another and of the base, as they end before it.</summary>
    private (bool[] Has, bool[] Hides) Committed()
    {
        var has = new bool[TargetSectors];
        var hides = new bool[TargetSectors];
        for (int sector = 0; sector < TargetSectors; sector++)
        {
            // Whatever the images above have there: they may have recorded a part of it only.
            hides[sector] = Enumerable.Range(Top, Base - Top).Any(
                i => sector >= Layers[i].Sectors && Layers.Skip(i + 1).Take(Base - i).Any(below => sector < below.Sectors));
            for (int i = Top; i < Base; i++)
            {
                if (sector >= Layers[i].Sectors)
                {
                    break;
                }

                if (Layers[i].Has[sector])
                {
                    has[sector] = true;
                    break;
                }
            }
        }

        return (has, hides);
    }
}
