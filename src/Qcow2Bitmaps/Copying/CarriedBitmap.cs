namespace Qcow2Bitmaps.Copying;

/// <summary>A bitmap to be stored in the target.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Bits">Its bits.</param>
/// <param name="IsRecording">Whether it records writes.</param>
internal sealed record CarriedBitmap(string Name, DirtyBitmap Bits, bool IsRecording);
