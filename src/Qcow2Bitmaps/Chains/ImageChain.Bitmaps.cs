using System.Runtime.CompilerServices;
using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Images.State;

namespace Qcow2Bitmaps;

/// <content>The bitmaps over the chain: verdicts and bits.</content>
public sealed partial class ImageChain
{
    /// <summary>Judges every bitmap that any image of the chain holds.</summary>
    /// <param name="profile">Whose rules apply.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>The verdicts, in the order in which the names first appear from the top down.</returns>
    /// <exception cref="IOException">A storage failed.</exception>
    public async Task<IReadOnlyList<BitmapVerdict>> JudgeBitmapsAsync(
        VerdictProfile profile = VerdictProfile.Libvirt, CancellationToken cancellationToken = default)
    {
        var verdicts = new List<BitmapVerdict>();
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (BitmapInfo bitmap in _layers.SelectMany(static layer => layer.Bitmaps))
        {
            if (seen.Add(bitmap.Name))
            {
                verdicts.Add(await JudgeBitmapAsync(bitmap.Name, profile, cancellationToken).ConfigureAwait(false));
            }
        }

        return verdicts;
    }

    /// <summary>Judges one bitmap. If its directory entries are valid, its tables are read too, but not its bits.</summary>
    /// <param name="name">Its name; it is not an error if no image holds it.</param>
    /// <param name="profile">Whose rules apply.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>Whether the bitmap is valid over the chain, and if not, why and in which image.</returns>
    /// <exception cref="IOException">A storage failed.</exception>
    public async Task<BitmapVerdict> JudgeBitmapAsync(
        string name, VerdictProfile profile = VerdictProfile.Libvirt, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(name);
        return await TableJudge.JudgeAsync(_layers, name, profile, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Reads what a valid bitmap says of the chain: its bits merged over all images that hold it, in bounded memory.</summary>
    /// <param name="name">The bitmap's name.</param>
    /// <param name="includeClean">Whether to yield the clean ranges too.</param>
    /// <param name="findings">Takes, at the end, the faults that did not end the reading.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>
    /// The ranges in ascending order, adjacent ones merged, in granules of the topmost bitmap. The parts that a shorter image hides of a
    /// longer one below it count as dirty.
    /// </returns>
    /// <exception cref="BitmapStateException">The bitmap is not valid over the chain; the message is its verdict.</exception>
    /// <exception cref="Qcow2FormatException">A bitmap's table is not allowed.</exception>
    /// <exception cref="IOException">A storage failed.</exception>
    public async IAsyncEnumerable<DirtyExtent> ReadExtentsAsync(
        string name, bool includeClean = false, ICollection<FormatFault>? findings = null,
        [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        var logs = new List<FaultLog>();
        MergedBitmapReader reader = await MergedBitmap.OpenAsync(_layers, name, logs, cancellationToken).ConfigureAwait(false);
        await foreach (DirtyExtent extent in reader.ReadExtentsAsync(includeClean, cancellationToken).ConfigureAwait(false))
        {
            yield return extent;
        }

        for (int i = 0; i < logs.Count; i++)
        {
            // The images of a valid bitmap are contiguous from the top.
            logs[i].CopyTo(findings, prefix: $"{_layers[i]}, ");
        }
    }

    /// <summary>Counts what <see cref="ReadExtentsAsync"/> would yield.</summary>
    /// <param name="name">The bitmap's name.</param>
    /// <param name="cancellationToken">Ends the reading.</param>
    /// <returns>The bytes of the dirty granules, in the topmost bitmap's granularity, cut at the disk's end.</returns>
    /// <exception cref="BitmapStateException">The bitmap is not valid over the chain; the message is its verdict.</exception>
    /// <exception cref="Qcow2FormatException">A bitmap's table is not allowed.</exception>
    /// <exception cref="IOException">A storage failed.</exception>
    public async Task<long> CountDirtyBytesAsync(string name, CancellationToken cancellationToken = default)
    {
        MergedBitmapReader reader = await MergedBitmap.OpenAsync(_layers, name, [], cancellationToken).ConfigureAwait(false);
        return (await reader.CountAsync(cancellationToken).ConfigureAwait(false)).Bytes;
    }
}
