namespace Qcow2Bitmaps.Format;

/// <summary>The offsets of the header's fields, each computed from the previous one. Spec: "Header".</summary>
internal static class HeaderLayout
{
    public const int Magic = 0;
    public const int Version = Magic + sizeof(uint);
    public const int BackingFileOffset = Version + sizeof(uint);
    public const int BackingFileSize = BackingFileOffset + sizeof(ulong);
    public const int ClusterBits = BackingFileSize + sizeof(uint);
    public const int VirtualSize = ClusterBits + sizeof(uint);
    public const int CryptMethod = VirtualSize + sizeof(ulong);
    public const int L1Size = CryptMethod + sizeof(uint);
    public const int L1TableOffset = L1Size + sizeof(uint);
    public const int RefcountTableOffset = L1TableOffset + sizeof(ulong);
    public const int RefcountTableClusters = RefcountTableOffset + sizeof(ulong);
    public const int SnapshotCount = RefcountTableClusters + sizeof(uint);
    public const int SnapshotsOffset = SnapshotCount + sizeof(uint);
    public const int Version2Length = SnapshotsOffset + sizeof(ulong);

    public const int IncompatibleFeatures = Version2Length;
    public const int CompatibleFeatures = IncompatibleFeatures + sizeof(ulong);
    public const int AutoclearFeatures = CompatibleFeatures + sizeof(ulong);
    public const int RefcountOrder = AutoclearFeatures + sizeof(ulong);
    public const int HeaderLength = RefcountOrder + sizeof(uint);
    public const int MinVersion3Length = HeaderLength + sizeof(uint);

    public const int CompressionType = MinVersion3Length;
    public const int Padding = CompressionType + 1;
    public const int KnownLength = Padding + 7;
}
