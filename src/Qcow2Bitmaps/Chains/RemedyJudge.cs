namespace Qcow2Bitmaps.Chains;

/// <summary>Decides what helps where a bitmap is not valid.</summary>
internal static class RemedyJudge
{
    private const int MaxNames = 5;

    /// <summary>Adds the remedy to a verdict.</summary>
    public static async ValueTask<BitmapVerdict> CompleteAsync(
        IReadOnlyList<ChainLayer> layers, BitmapVerdict verdict, CancellationToken cancellationToken)
    {
        if (verdict.IsValid)
        {
            return CompareSizes(layers, verdict);
        }

        // Regardless of other faults: nothing can be changed, and the state on disk proves nothing.
        if (layers.Any(static layer => layer.IsOpenForWritingElsewhere))
        {
            return verdict with { Remedy = Remedy.Wait, RemedyDetails = Details(layers) };
        }

        if (verdict.Reason == InvalidReason.Unreadable)
        {
            ChainLayer broken = layers.First(layer => layer.Index == verdict.ImageIndex);
            return verdict with
            {
                Remedy = Remedy.Repair,
                RemedyDetails = Details(layers) with { ImagePath = broken.Path, ImageIndex = broken.Index },
            };
        }

        if (verdict.ImageIndexes.Count == 0)
        {
            return await FindOlderAsync(layers, verdict, cancellationToken).ConfigureAwait(false);
        }

        IReadOnlyList<ChainLayer> unusable = await RebuildRules.FindUnusableAsync(
            layers, verdict.Name, cancellationToken).ConfigureAwait(false);
        if (unusable.Any(static layer => RebuildRules.WhyImpossible(layer) is not null || RebuildRules.WhyUnsound(layer) is not null))
        {
            return verdict with { Remedy = Remedy.Delete, RemedyDetails = Details(layers) };
        }

        ChainLayer birth = RebuildRules.FindBirth(layers, verdict.Name)!;
        return unusable.Contains(birth)
            ? verdict with
            {
                Remedy = Remedy.Delete,
                RemedyDetails = Details(layers) with { ImagePath = birth.Path, ImageIndex = birth.Index },
            }
            : verdict with { Remedy = Remedy.Populate, RemedyDetails = Details(layers) };
    }

    /// <summary>Checks whether QEMU can merge the pieces of a valid bitmap: it needs disks of the top image's size.</summary>
    private static BitmapVerdict CompareSizes(IReadOnlyList<ChainLayer> layers, BitmapVerdict verdict)
    {
        List<ChainLayer> run = [.. layers.Where(layer => verdict.ImageIndexes.Contains(layer.Index))];
        int last = run.FindLastIndex(layer => layer.VirtualSizeBytes != layers[0].VirtualSizeBytes);
        if (last < 0)
        {
            return verdict;
        }

        string sizes = string.Join(", ", run.Select(static layer => $"{layer} has {layer.VirtualSizeBytes} bytes"));
        return verdict with
        {
            SizesDiffer = true,
            Detail = $"QEMU cannot back up by it, as it does not merge bitmaps of different sizes: {sizes}; "
                + $"backups by this library can go by it",
            Remedy = Remedy.Pull,
            RemedyDetails = Details(layers) with
            {
                ImagePath = run[last].Path,
                ImageIndex = run[last].Index,
                BasePath = last + 1 < layers.Count ? layers[last + 1].Path : null,
                CanCommit = run[last].VirtualSizeBytes < layers[0].VirtualSizeBytes,
            },
        };
    }

    /// <summary>
    /// For a bitmap that no image holds, finds candidates to rebuild it from: bitmaps that are valid or can be made so. Whether one is
    /// older than the missing bitmap cannot be determined.
    /// </summary>
    private static async ValueTask<BitmapVerdict> FindOlderAsync(
        IReadOnlyList<ChainLayer> layers, BitmapVerdict verdict, CancellationToken cancellationToken)
    {
        List<string> valid = [];
        List<string> populated = [];
        if (RebuildRules.WhyImpossible(layers[0]) is null)
        {
            foreach (string other
                in layers.SelectMany(static layer => layer.Bitmaps).Select(static bitmap => bitmap.Name).Distinct(StringComparer.Ordinal))
            {
                BitmapVerdict candidate = await TableJudge.JudgeAsync(
                    layers, other, VerdictProfile.Libvirt, cancellationToken).ConfigureAwait(false);
                (candidate.IsValid ? valid : candidate.Remedy == Remedy.Populate ? populated : []).Add(other);
                if (valid.Count == MaxNames)
                {
                    break;
                }
            }
        }

        List<string> older = valid.Count > 0 ? valid : populated;
        return older.Count > 0
            ? verdict with
            {
                Remedy = Remedy.PopulateSince,
                RemedyDetails = Details(layers) with { OlderBitmaps = older, AreOlderValid = valid.Count > 0 },
            }
            : verdict with { Remedy = Remedy.FullBackup, RemedyDetails = Details(layers) };
    }

    private static RemedyDetails Details(IReadOnlyList<ChainLayer> layers) => new() { TopPath = layers[0].Path };
}
