using Qcow2Bitmaps.Bitmaps;

namespace Qcow2Bitmaps.Images.Editing;

/// <summary>
/// A change of a bitmap's bits that is applied page by page when the bitmap is written. Immutable once
/// another bitmap was merged from its bitmap.
/// </summary>
internal interface IContentChange
{
    /// <summary>What the change does to a page.</summary>
    PageEffect EffectOn(PageMerge.Piece page, long sizeBytes);

    /// <summary>
    /// Applies the change to a page whose effect is <see cref="PageEffect.AddsBits"/> or <see cref="PageEffect.TakesBits"/>.
    /// </summary>
    ValueTask ApplyAsync(PageMerge.Piece page, Memory<ulong> words, long sizeBytes, PageBuffer buffer, CancellationToken cancellationToken);
}
