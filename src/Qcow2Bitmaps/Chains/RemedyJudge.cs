using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Chains;

/// <summary>Decides what helps where a bitmap is not valid, and says it: the one place for both.</summary>
internal static class RemedyJudge
{
    private const string Tool = "qcow2bitmaps";
    private const string PlainCharacters = "/._-+,:=@%";
    private const int MaxNames = 5;

    /// <summary>Adds to a verdict what helps.</summary>
    public static async ValueTask<BitmapVerdict> CompleteAsync(
        IReadOnlyList<ChainLayer> layers, BitmapVerdict verdict, CancellationToken cancellationToken)
    {
        if (verdict.IsValid)
        {
            return CompareSizes(layers, verdict);
        }

        // Whatever else is wrong: nothing can be changed, and what is on disk does not tell.
        if (layers.Any(static layer => layer.IsOpenForWritingElsewhere))
        {
            return verdict with
            {
                Remedy = Remedy.Wait,
                Advice = "ask the process that has the image open, or look again when it has closed it",
            };
        }

        string name = verdict.Name;
        string top = layers[0].Path;
        if (verdict.Reason == InvalidReason.Unreadable)
        {
            string image = layers.First(layer => layer.Index == verdict.Image).Path;
            return verdict with
            {
                Remedy = Remedy.Repair,
                Advice = $"{Command("check", "-r", "bitmaps", image)}: bits in doubt become dirty",
            };
        }

        if (verdict.Images.Count == 0)
        {
            return await FindOlderAsync(layers, verdict, cancellationToken).ConfigureAwait(false);
        }

        IReadOnlyList<ChainLayer> unusable = await RebuildRules.FindUnusableAsync(layers, name, cancellationToken).ConfigureAwait(false);
        if (unusable.Any(static layer => RebuildRules.WhyImpossible(layer) is not null || RebuildRules.WhyUnsound(layer) is not null))
        {
            return verdict with { Remedy = Remedy.Delete, Advice = Delete(top, name) };
        }

        ChainLayer birth = RebuildRules.FindBirth(layers, name)!;
        return unusable.Contains(birth)
            ? verdict with
            {
                Remedy = Remedy.Delete,
                Advice = $"{Delete(top, name)}; only where {birth} was neither committed and emptied nor rebased since the bitmap was "
                    + $"made, {Command("chain", "populate", "--trust-birth", top, name)} rebuilds it",
            }
            : verdict with
            {
                Remedy = Remedy.Populate,
                Advice = $"{Command("chain", "populate", top, name)}: rebuilds it from what the images have allocated; "
                    + $"it then marks all changes, and perhaps more",
            };
    }

    /// <summary>Says of a valid bitmap whether QEMU can merge its pieces: only those whose disks are as large as the top image's.</summary>
    private static BitmapVerdict CompareSizes(IReadOnlyList<ChainLayer> layers, BitmapVerdict verdict)
    {
        List<ChainLayer> run = [.. layers.Where(layer => verdict.Images.Contains(layer.Index))];
        int last = run.FindLastIndex(layer => layer.VirtualSizeBytes != layers[0].VirtualSizeBytes);
        if (last < 0)
        {
            return verdict;
        }

        string top = layers[0].Path;
        string lowest = run[last].Path;
        string sizes = string.Join(", ", run.Select(static layer => $"{layer} has {layer.VirtualSizeBytes} bytes"));
        string[] pull = last + 1 < layers.Count ? ["chain", "pull", "--base", layers[last + 1].Path, top] : ["chain", "pull", top];
        string commit = run[last].VirtualSizeBytes < layers[0].VirtualSizeBytes ? $"{Command("chain", "commit", top, lowest)}, or " : "";
        return verdict with
        {
            SizesDiffer = true,
            Detail = $"QEMU cannot back up by it, as it does not merge bitmaps of different sizes: {sizes}; "
                + $"backups made by {Tool} can go by it",
            Remedy = Remedy.Pull,
            Advice = $"{Command(pull)}; or {commit}{Command("chain", "flatten", top)} NEW",
        };
    }

    /// <summary>
    /// Finds bitmaps from which one could be rebuilt that no image holds: any that is valid, or can be made so, and
    /// is older. That it is older nobody can see.
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

        string command = Command("chain", "populate", layers[0].Path, verdict.Name, "--since");
        return valid.Count > 0 ? verdict with
        {
            Remedy = Remedy.PopulateSince,
            Advice = $"{command} OLDER: takes over what changed since OLDER, a valid checkpoint that was made before it "
                + $"({ShowNames(valid)}, if that is older)",
        }
        : populated.Count > 0 ? verdict with
        {
            Remedy = Remedy.PopulateSince,
            Advice = $"{command} OLDER, once OLDER, a checkpoint that was made before it ({ShowNames(populated)}, if that is older), "
                + $"has been rebuilt with {Command("chain", "populate", layers[0].Path)} OLDER",
        }
        : verdict with { Remedy = Remedy.FullBackup, Advice = "a full backup with a new bitmap" };
    }

    private static string ShowNames(List<string> names) =>
        string.Join(" or ", names.Take(MaxNames).Select(static name => PrintableMessage.Of($"'{name}'")))
            + (names.Count > MaxNames ? " or others" : "");

    private static string Delete(string top, string name) =>
        $"{Command("chain", "delete", top, name)}, and a full backup with a new bitmap";

    private static string Command(params IEnumerable<string> words) => $"{Tool} {string.Join(' ', words.Select(Quote))}";

    /// <summary>
    /// Quotes a word for a shell where it has to be. Characters that could trick a terminal are escaped, and have to be typed otherwise.
    /// </summary>
    private static string Quote(string word)
    {
        string shown = PrintableText.Escape(word);
        return shown.Length > 0
            && shown.All(static c => char.IsAsciiLetterOrDigit(c) || PlainCharacters.Contains(c, StringComparison.Ordinal))
            ? shown
            : $"'{shown.Replace("'", @"'\''", StringComparison.Ordinal)}'";
    }
}
