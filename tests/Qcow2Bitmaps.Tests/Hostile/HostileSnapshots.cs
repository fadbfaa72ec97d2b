using Qcow2Bitmaps.Format;
using static Qcow2Bitmaps.Tests.Hostile.Expected;

namespace Qcow2Bitmaps.Tests.Hostile;

/// <summary>Snapshot tables that lie: number 31 of the list of hostile images.</summary>
internal static class HostileSnapshots
{
    // The fields of an entry, from the entry's start.
    private const int L1Offset = 0;
    private const int L1Size = 8;
    private const int IdSize = 12;
    private const int NameSize = 14;
    private const int ExtraDataSize = 36;

    public static IEnumerable<HostileCase> All()
    {
        foreach (uint count in new uint[] { 65537, int.MaxValue, uint.MaxValue })
        {
            yield return Faulty($"{count} snapshots", image => image.U32(HeaderLayout.SnapshotCount, count), FaultCode.HeaderSnapshotTable);
        }

        yield return Faulty(
            "65536 snapshots of which two exist", static image => image.U32(HeaderLayout.SnapshotCount, 65536),
            FaultCode.SnapshotTableTruncated);
        yield return Faulty(
            "table behind the file's end", static image => image.U64(HeaderLayout.SnapshotsOffset, 1UL << 40),
            FaultCode.SnapshotTableTruncated);
        yield return Faulty(
            "table at the largest offset", static image => image.U64(HeaderLayout.SnapshotsOffset, (ulong)long.MaxValue & ~0xfffUL),
            FaultCode.SnapshotTableTruncated);
        foreach (ulong offset in new ulong[] { 0x4001, 1UL << 63, ulong.MaxValue })
        {
            yield return Faulty(
                $"table at 0x{offset:x}", image => image.U64(HeaderLayout.SnapshotsOffset, offset), FaultCode.HeaderSnapshotTable);
        }

        foreach (uint size in new uint[] { 1025, int.MaxValue, uint.MaxValue - 15, uint.MaxValue })
        {
            yield return Faulty(
                $"extra data of {size} bytes", image => image.U32(Table(image) + ExtraDataSize, size), FaultCode.SnapshotExtraData);
        }

        yield return new HostileCase(
            "extra data of 8 bytes", static () => Patched.Usual().WithSnapshots(Patched.Snapshot("1", "a", extraBytes: 8)),
            FaultCode.SnapshotExtraData, Noted, Noted);
        yield return Faulty(
            "id of 65535 bytes", static image => image.U16(Table(image) + IdSize, ushort.MaxValue), FaultCode.SnapshotTableTruncated);
        yield return Faulty(
            "name of 65535 bytes", static image => image.U16(Table(image) + NameSize, ushort.MaxValue), FaultCode.SnapshotTableTruncated);
        foreach (uint size in new uint[] { 4194305, uint.MaxValue })
        {
            yield return Odd($"L1 table of {size} entries", image => image.U32(Table(image) + L1Size, size));
        }

        foreach (ulong offset in new ulong[] { 0x3001, 1UL << 63, ulong.MaxValue })
        {
            yield return Odd($"L1 table at 0x{offset:x}", image => image.U64(Table(image) + L1Offset, offset));
        }

        yield return new HostileCase(
            "the table is the header", static () => Build(static image => image.U64(HeaderLayout.SnapshotsOffset, 0)),
            FaultCode.SnapshotL1Table, Noted, Noted);
    }

    private static Patched Build(Action<Patched> change)
    {
        Patched image = Patched.Usual().WithSnapshots(Patched.Snapshot("1", "first"), Patched.Snapshot("2", "second"));
        change(image);
        return image;
    }

    /// <summary>The table has the last cluster for its own.</summary>
    private static int Table(Patched image) => image.Bytes.Length - 4096;

    private static HostileCase Faulty(string name, Action<Patched> change, FaultCode code) =>
        new("snapshots: " + name, () => Build(change), code, Refused, Noted);

    private static HostileCase Odd(string name, Action<Patched> change) =>
        new("snapshots: " + name, () => Build(change), FaultCode.SnapshotL1Table, Noted, Noted);
}
