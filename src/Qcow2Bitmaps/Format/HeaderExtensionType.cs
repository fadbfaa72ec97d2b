namespace Qcow2Bitmaps.Format;

/// <summary>The types of header extensions that this library knows. Others are kept as they are. Spec: "Header extensions".</summary>
internal enum HeaderExtensionType : uint
{
    /// <summary>Marks the end of the extensions.</summary>
    End = 0,
    /// <summary>The name of the backing file's format.</summary>
    BackingFormat = 0xE2792ACA,
    /// <summary>Names of feature bits, for messages about unknown ones.</summary>
    FeatureNames = 0x6803F857,
    /// <summary>Where the bitmap directory is.</summary>
    Bitmaps = 0x23852875,
    /// <summary>Where the LUKS header is.</summary>
    CryptoHeader = 0x0537BE77,
    /// <summary>The name of the external data file.</summary>
    DataFileName = 0x44415441,
}
