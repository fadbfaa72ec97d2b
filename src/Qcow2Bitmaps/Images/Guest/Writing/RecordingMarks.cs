using Qcow2Bitmaps.Images.Editing;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Threading;

namespace Qcow2Bitmaps.Images.Guest.Writing;

/// <summary>Marks ranges in all recording bitmaps on disk before they are written: first the bits, then the data.</summary>
/// <remarks>
/// So a bitmap never looks valid but lacks a write, wherever the writer is interrupted. Caches what is marked. <see cref="Covers"/> must
/// not run concurrently with a mark.
/// </remarks>
internal sealed class RecordingMarks(ImageHandle image)
{
    private readonly Dictionary<string, DirtyBitmap> _marked = new(StringComparer.Ordinal);
    // The image's contents when these marks were made: any other edit invalidates them.
    private ImageContents? _of;

    private IEnumerable<BitmapInfo> Recording =>
        image.Contents.Bitmaps.Bitmaps.Where(static bitmap => bitmap.State == BitmapState.Recording && bitmap.Faults.Count == 0);

    /// <summary>Whether a range is marked in all recording bitmaps.</summary>
    public bool Covers(long offsetBytes, long lengthBytes)
    {
        bool isCurrent = ReferenceEquals(_of, image.Contents);
        foreach (BitmapInfo bitmap in Recording)
        {
            if (!isCurrent || !_marked.TryGetValue(bitmap.Name, out DirtyBitmap? marked) || !marked.AreAllDirty(offsetBytes, lengthBytes))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Marks a range, in one atomic edit of all recording bitmaps.</summary>
    /// <exception cref="Qcow2Exception">The image cannot be edited, or has too little space.</exception>
    /// <exception cref="IOException">The storage failed.</exception>
    public ValueTask MarkAsync(long offsetBytes, long lengthBytes, CancellationToken cancellationToken) => MarkAsync(
        (plan, name, token) => plan.FillAsync(name, offsetBytes, lengthBytes, true, token), marked => marked.Set(offsetBytes, lengthBytes),
        cancellationToken);

    /// <summary>Marks what is dirty in a bitmap, in one atomic edit of all recording bitmaps.</summary>
    /// <inheritdoc cref="MarkAsync(long, long, CancellationToken)" path="/exception"/>
    public ValueTask MarkAsync(DirtyBitmap ranges, CancellationToken cancellationToken) => MarkAsync(
        (plan, name, token) => plan.MergeAsync(ranges, name, token), marked => marked.Merge(ranges), cancellationToken);

    private async ValueTask MarkAsync(
        Func<EditPlan, string, CancellationToken, ValueTask> step, Action<DirtyBitmap> mark, CancellationToken cancellationToken)
    {
        using ImageGate.Release alone = await image.EnterAsync(cancellationToken).ConfigureAwait(false);
        if (!ReferenceEquals(_of, image.Contents))
        {
            _marked.Clear();
        }

        string[] names = [.. Recording.Select(static bitmap => bitmap.Name)];
        _of = null;
        await BitmapEditing.RunAloneAsync(
            image,
            async (plan, token) =>
            {
                foreach (string name in names)
                {
                    await step(plan, name, token).ConfigureAwait(false);
                }
            },
            cancellationToken).ConfigureAwait(false);
        foreach (BitmapInfo bitmap in Recording)
        {
            if (!_marked.TryGetValue(bitmap.Name, out DirtyBitmap? marked))
            {
                _marked[bitmap.Name] = marked = new DirtyBitmap(image.Geometry.VirtualSizeBytes, bitmap.GranularityBytes);
            }

            mark(marked);
        }

        _of = image.Contents;
    }
}
