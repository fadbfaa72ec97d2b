namespace Qcow2Bitmaps;

/// <summary>How guest data are encrypted (header offset 32). Bitmaps and tables never are.</summary>
public enum EncryptionMethod
{
    /// <summary>Not at all.</summary>
    None = 0,
    /// <summary>AES-CBC, QEMU's legacy scheme.</summary>
    Aes = 1,
    /// <summary>LUKS, with a header inside the image.</summary>
    Luks = 2,
}
