using System.Security.Cryptography;
using Qcow2Bitmaps.Bitmaps;

namespace Qcow2Bitmaps;

public sealed partial class DirtyBitmap
{
    /// <summary>The SHA-256 of the bits as QEMU's <c>x-debug-block-dirty-bitmap-sha256</c> computes it.</summary>
    /// <returns>32 bytes.</returns>
    /// <remarks>The hash covers whole 64-bit words in little-endian order; bits past the disk's end are zeros.</remarks>
    public byte[] Sha256()
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        ulong[]? uniform = null;
        for (int page = 0; page < _pages.Length; page++)
        {
            ReadOnlySpan<ulong> words = _pages[page];
            if (KindOf(page) != BitmapPageKind.Bits)
            {
                uniform ??= new ulong[_geometry.WordsIn(0)];
                Span<ulong> filled = uniform.AsSpan(0, _geometry.WordsIn(page));
                filled.Clear();
                BitKernels.Fill(filled, 0, _geometry.BitsIn(page), KindOf(page) == BitmapPageKind.AllDirty);
                words = filled;
            }

            hash.AppendData(LittleEndianWords.BytesOf(words));
        }

        return hash.GetHashAndReset();
    }
}
