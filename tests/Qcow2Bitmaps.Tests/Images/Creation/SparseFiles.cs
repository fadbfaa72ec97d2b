using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Tests.Images.Creation;

/// <summary>Compares files that may be terabytes of holes.</summary>
internal static class SparseFiles
{
    private const int SeekData = 3;
    private const int PieceBytes = 1 << 16;

    public static long LengthOf(string path)
    {
        using var file = File.OpenHandle(path, share: FileShare.ReadWrite);
        return RandomAccess.GetLength(file);
    }

    /// <summary>The first byte that differs; null when the files are equal.</summary>
    public static long? FindDifference(string first, string second)
    {
        using var a = File.OpenHandle(first, share: FileShare.ReadWrite);
        using var b = File.OpenHandle(second, share: FileShare.ReadWrite);
        long length = RandomAccess.GetLength(a);
        if (length != RandomAccess.GetLength(b))
        {
            return Math.Min(length, RandomAccess.GetLength(b));
        }

        var bytesA = new byte[PieceBytes];
        var bytesB = new byte[PieceBytes];
        for (long offset = 0; offset < length;)
        {
            // Behind the last data there is none to be found: -1.
            long nextA = LinuxNative.Seek(a, offset, SeekData);
            long nextB = LinuxNative.Seek(b, offset, SeekData);
            long next = Math.Min(nextA < 0 ? length : nextA, nextB < 0 ? length : nextB);
            int readA = RandomAccess.Read(a, bytesA, next);
            int readB = RandomAccess.Read(b, bytesB, next);
            int same = bytesA.AsSpan(0, readA).CommonPrefixLength(bytesB.AsSpan(0, readB));
            if (same < Math.Max(readA, readB))
            {
                return next + same;
            }

            offset = next + PieceBytes;
        }

        return null;
    }
}
