using Qcow2Bitmaps.Bitmaps;

namespace Qcow2Bitmaps.Images.Editing;

/// <summary>Adds all dirty ranges of another bitmap, whatever its granularity and size.</summary>
internal sealed class MergeChange(IBitmapPages source) : IContentChange
{
    /// <summary>Whether the other bitmap was changed by the same edit.</summary>
    public bool IsOfSameEdit => source is EditedContent;

    public PageEffect EffectOn(PageMerge.Piece page, long sizeBytes) =>
        PageBuffer.KindWithin(source, page, Math.Min(sizeBytes, source.SizeBytes)) switch
        {
            BitmapPageKind.AllClean => PageEffect.None,
            BitmapPageKind.AllDirty => PageEffect.MakesDirty,
            _ => PageEffect.AddsBits,
        };

    public ValueTask ApplyAsync(
        PageMerge.Piece page, Memory<ulong> words, long sizeBytes, PageBuffer buffer, CancellationToken cancellationToken) =>
        buffer.OrAsync(source, page, words, Math.Min(sizeBytes, source.SizeBytes), cancellationToken);
}
