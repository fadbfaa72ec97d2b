namespace Qcow2Bitmaps.Tests.Support;

/// <summary>What is stored of a bitmap.</summary>
/// <param name="Name">Its name.</param>
/// <param name="GranularityBytes">Bytes of disk per bit.</param>
/// <param name="Flags">Its flags.</param>
/// <param name="Sha256">The hash of its bits, and all that was found wrong when they were read.</param>
internal sealed record StoredBitmap(string Name, long GranularityBytes, BitmapFlags Flags, string Sha256);
